import { connect, type Socket } from "node:net";

/** The host's end of a console of `virtload`: sends lines that count, and reads those of the guest. */
export interface CountingLines extends Disposable {
  /** Lines that came in order, and what came otherwise. */
  readonly lines: number;
  readonly wrong: readonly string[];
}

/** Connects to the Unix socket of QEMU's character device at `path`, as soon as it is there. */
export function openCountingLines(path: string): CountingLines {
  const wrong: string[] = [];
  let lines = 0;
  let expected: bigint | undefined;
  let next = 1n;
  let rest = "";
  let isClosed = false;
  let socket: Socket;
  let timer: NodeJS.Timeout;
  const say = () => {
    const numbers = Array.from({ length: 20 }, () => `c${(next++).toString(16)}\n`);
    socket.write(numbers.join(""));
    timer = setTimeout(say, 10);
  };
  const read = (data: Buffer) => {
    const whole = `${rest}${data.toString("latin1")}`.split("\n");
    rest = whole.pop()!;
    for (const line of whole) {
      const number = /^c[0-9a-f]+$/.test(line) ? BigInt(`0x${line.slice(1)}`) : undefined;
      if (number === undefined || (expected !== undefined && number !== expected)) wrong.push(line);
      else lines++;
      expected = (number ?? 0n) + 1n;
    }
  };
  const open = () => {
    socket = connect(path);
    socket.on("connect", say);
    socket.on("data", read);
    socket.on("error", () => {
      clearTimeout(timer);
      if (!isClosed) timer = setTimeout(open, 50);
    });
  };
  open();
  return {
    get lines() {
      return lines;
    },
    wrong,
    [Symbol.dispose]: () => {
      isClosed = true;
      clearTimeout(timer);
      socket.destroy();
    },
  };
}
