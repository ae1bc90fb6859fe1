import { EAGAIN, EINTR, type Fd, tryRead } from "@baton/linux";

/** The longest first line: a keyword, a port of 32 bits, a line feed. */
const MAX_LINE = 32;

/** A host program that has connected and not yet said to which port: it sends `CONNECT PORT\n` (Firecracker's convention). */
export class VsockHandshake {
  readonly fd: Fd;
  endWatch: (() => void) | undefined;
  /** When it is given up, in ms as `performance.now()`. */
  readonly deadline: number;
  /** What has come of the line. */
  line: string;
  readonly #byte = new Uint8Array(1);

  constructor(fd: Fd, deadline: number, line = "") {
    this.fd = fd;
    this.deadline = deadline;
    this.line = line;
  }

  /** Reads the line byte by byte, so that nothing of what follows is taken: the port, `wait`, or `bad`. */
  read(): number | "wait" | "bad" {
    for (;;) {
      const result = tryRead(this.fd.raw, this.#byte);
      if (result === -EINTR) continue;
      if (result === -EAGAIN) return "wait";
      if (result <= 0) return "bad";
      const character = String.fromCharCode(this.#byte[0] as number);
      if (character === "\n") break;
      this.line += character;
      if (this.line.length > MAX_LINE) return "bad";
    }
    const match = /^connect (\d{1,10})\r?$/i.exec(this.line);
    const port = match === null ? Number.NaN : Number(match[1]);
    return port <= 0xffff_ffff ? port : "bad";
  }
}
