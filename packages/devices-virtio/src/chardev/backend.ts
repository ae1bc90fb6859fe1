/** What a character device stands on. */
export type ChardevBackend =
  /** Descriptors that stay the caller's, such as standard output and input; they need not be non-blocking. */
  | { readonly kind: "fd"; readonly outputFd: number; readonly inputFd?: number }
  /** A file that output goes to; it is emptied first, unless `append` is said. There is no input. */
  | { readonly kind: "file"; readonly path: string; readonly append?: boolean }
  /** A UNIX socket at `path` that listens, for one client at a time; output without a client is dropped. */
  | { readonly kind: "unix"; readonly path: string }
  /** A connection to a UNIX socket that somebody else listens at; when it has ended, output is dropped. */
  | { readonly kind: "unix-client"; readonly path: string }
  /** A new pseudo-terminal; output is dropped while nobody has it open. */
  | { readonly kind: "pty" }
  /** Nothing: output is dropped, input never comes. */
  | { readonly kind: "null" };

/** What a {@link CharChannel} moves bytes through, by descriptor number: structured-clonable, for its device thread. */
export type CharEndpoint =
  | { readonly kind: "null" }
  /** Where output goes and input comes from; -1 for nowhere. Others may share them, and they may block. */
  | { readonly kind: "fds"; readonly outputFd: number; readonly inputFd: number }
  /** A listening socket whose clients come and go; non-blocking. */
  | { readonly kind: "listener"; readonly fd: number }
  /** A connected socket; non-blocking. */
  | { readonly kind: "connection"; readonly fd: number }
  /** The master of a pseudo-terminal, whose other side comes and goes; non-blocking. */
  | { readonly kind: "pty"; readonly fd: number };
