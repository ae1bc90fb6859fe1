const BRAND = Symbol.for("baton.BatonError");

/** What a {@link BatonError} can carry beside its code and message. */
export interface BatonErrorOptions {
  /** The system call that failed, as in `ioctl KVM_RUN`. */
  readonly syscall?: string | undefined;
  /** The positive error number, see errno(3). */
  readonly errno?: number | undefined;
  /** The symbolic error number, as in `ENOENT`. */
  readonly errnoName?: string | undefined;
  /** What to do about it; it is also appended to the message. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  /** Further facts, by name: plain values only. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * The one error class of Baton. Match on `code`, a stable literal; the message is for people.
 * `instanceof` and {@link BatonError.is} recognise errors made by another copy of this module as well.
 */
export class BatonError extends Error {
  /** A stable literal such as `SYSCALL_FAILED`, `INVALID_ARGUMENT`, `FD_CLOSED`. */
  readonly code: string;
  declare readonly syscall?: string;
  /** Positive error number, see errno(3). */
  declare readonly errno?: number;
  /** `ENOENT` and so on. */
  declare readonly errnoName?: string;
  /** What to do about it. */
  declare readonly hint?: string;
  /** Further facts by name. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, options: BatonErrorOptions = {}) {
    super(
      options.hint ? `${message}; ${options.hint}` : message,
      options.cause === undefined ? {} : { cause: options.cause },
    );
    this.code = code;
    this.details = options.details ?? {};
    if (options.syscall !== undefined) this.syscall = options.syscall;
    if (options.errno !== undefined) this.errno = options.errno;
    if (options.errnoName !== undefined) this.errnoName = options.errnoName;
    if (options.hint !== undefined) this.hint = options.hint;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** Whether `value` is a BatonError (of any module copy), and of the given code where one is given. */
  static is(value: unknown, code?: string): value is BatonError {
    if (typeof value !== "object" || value === null || !(BRAND in value)) return false;
    return code === undefined || (value as unknown as BatonError).code === code;
  }

  /** `value` itself if it is a BatonError; else a new one with `code` and with `value` as its cause. */
  static from(value: unknown, code: string): BatonError {
    if (BatonError.is(value)) return value;
    const message = value instanceof Error ? value.message : String(value);
    return new BatonError(code, message, { cause: value });
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: a subclass keeps the ordinary meaning
    return this === BatonError ? BatonError.is(value) : Function.prototype[Symbol.hasInstance].call(this, value);
  }
}

// A bundler may rename the class.
Object.defineProperty(BatonError, "name", { value: "BatonError" });
Object.defineProperty(BatonError.prototype, "name", { value: "BatonError", configurable: true, writable: true });

/** Throws `signal.reason` if the signal is aborted. */
export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw signal.reason;
}
