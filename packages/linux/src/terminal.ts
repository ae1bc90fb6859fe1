import { O_NOCTTY, O_RDWR } from "./abi/file.js";
import {
  BRKINT,
  CS8,
  CSIZE,
  ECHO,
  ECHONL,
  ICANON,
  ICRNL,
  IEXTEN,
  IGNBRK,
  IGNCR,
  INLCR,
  INPCK,
  ISIG,
  ISTRIP,
  IXON,
  OPOST,
  PARENB,
  PARMRK,
  TCGETS2,
  TCSETS2,
  TIOCGPTN,
  TIOCGWINSZ,
  TIOCSPTLCK,
  TIOCSWINSZ,
  termios2,
  VMIN,
  VTIME,
  winsize,
} from "./abi/terminal.js";
import { type Fd, type FdLike, rawFd } from "./fd.js";
import { open } from "./files.js";
import { ioctl, tryIoctlPtr } from "./ioctl.js";
import { anInt } from "./validate.js";

/** A terminal's settings (`struct termios2`), to be put back with {@link restore}. Survives a structured clone. */
export interface TerminalState {
  readonly termios2: Uint8Array;
}

/** Whether a descriptor is a terminal. isatty(3). */
export function isatty(fd: FdLike): boolean {
  return tryIoctlPtr(rawFd(fd), TCGETS2, new Uint8Array(termios2.size)) === 0;
}

/** The settings of a terminal. Throws with `ENOTTY`. ioctl_tty(2) TCGETS2. */
export function getTerminalState(fd: FdLike): TerminalState {
  const bytes = new Uint8Array(termios2.size);
  ioctl(fd, TCGETS2, bytes, "TCGETS2");
  return { termios2: bytes };
}

/** Puts settings back at once, without waiting for output. ioctl_tty(2) TCSETS2. */
export function restore(fd: FdLike, state: TerminalState): void {
  ioctl(fd, TCSETS2, state.termios2, "TCSETS2");
}

/** Options of {@link makeRaw}. */
export interface RawOptions {
  /** Leaves output as it is: line feeds still return to the first column. */
  readonly keepOutput?: boolean;
}

/**
 * Makes a terminal pass every byte as it is, without echo, lines or signals, and returns its earlier settings.
 * The mode outlives the process. cfmakeraw(3).
 */
export function makeRaw(fd: FdLike, options: RawOptions = {}): TerminalState {
  const before = getTerminalState(fd);
  const bytes = before.termios2.slice();
  const flags = new Uint32Array(bytes.buffer, termios2.c_iflag, 4);
  const clear = (index: number, bits: number) => {
    flags[index] = (flags[index] as number) & ~bits;
  };
  clear(termios2.c_iflag / 4, IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | INPCK | IXON);
  if (!options.keepOutput) clear(termios2.c_oflag / 4, OPOST);
  clear(termios2.c_lflag / 4, ECHO | ECHONL | ICANON | ISIG | IEXTEN);
  clear(termios2.c_cflag / 4, CSIZE | PARENB);
  flags[termios2.c_cflag / 4] = (flags[termios2.c_cflag / 4] as number) | CS8;
  bytes[termios2.c_cc + VMIN] = 1;
  bytes[termios2.c_cc + VTIME] = 0;
  restore(fd, { termios2: bytes });
  return before;
}

/** The size of a terminal, in characters. ioctl_tty(2) TIOCGWINSZ. */
export function getWindowSize(fd: FdLike): { readonly rows: number; readonly columns: number } {
  const words = new Uint16Array(winsize.size / 2);
  ioctl(fd, TIOCGWINSZ, words, "TIOCGWINSZ");
  return { rows: words[winsize.ws_row / 2] as number, columns: words[winsize.ws_col / 2] as number };
}

/** Sets the size of a terminal, in characters. ioctl_tty(2) TIOCSWINSZ. */
export function setWindowSize(fd: FdLike, size: { readonly rows: number; readonly columns: number }): void {
  const words = new Uint16Array(winsize.size / 2);
  words[winsize.ws_row / 2] = anInt(size.rows, "rows", 0, 0xffff);
  words[winsize.ws_col / 2] = anInt(size.columns, "columns", 0, 0xffff);
  ioctl(fd, TIOCSWINSZ, words, "TIOCSWINSZ");
}

/** A new pseudo-terminal: its master side, and the path at which the other side opens. pty(7). */
export function openPty(): { readonly master: Fd; readonly slavePath: string } {
  const master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
  try {
    ioctl(master, TIOCSPTLCK, new Int32Array(1), "TIOCSPTLCK");
    const number = new Uint32Array(1);
    ioctl(master, TIOCGPTN, number, "TIOCGPTN");
    return { master, slavePath: `/dev/pts/${number[0]}` };
  } catch (error) {
    master.close();
    throw error;
  }
}
