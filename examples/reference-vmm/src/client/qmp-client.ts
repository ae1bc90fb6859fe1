import { connect, type Socket } from "node:net";
import { BatonError } from "@baton/linux";

/** Longer lines are no answers of a VM's. */
const MAX_LINE_CHARACTERS = 16 * 2 ** 20;

/** Options of {@link askVm}. */
export interface AskOptions {
  /** How long all of it may take; 5,000 ms unless given. */
  readonly timeoutMs?: number;
}

/** A command with its arguments. */
export type Question = readonly [command: string, args?: Readonly<Record<string, unknown>>];

interface Answer {
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
}

/**
 * Connects to a QMP socket, executes commands one after the other, and disconnects, since others want to be served as
 * well; resolves to what they return. Errors: `VM_NOT_ANSWERING`, and `VM_REFUSED` with the VM's own words.
 */
export async function askVm(
  path: string,
  questions: readonly Question[],
  { timeoutMs = 5000 }: AskOptions = {},
): Promise<unknown[]> {
  const socket = connect(path);
  const connection = new Connection(socket);
  const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    await connection.next(({ QMP }) => QMP !== undefined);
    const answers: unknown[] = [];
    for (const [execute, args] of [["qmp_capabilities"] as const, ...questions]) {
      socket.write(`${JSON.stringify({ execute, ...(args && { arguments: args }) })}\n`);
      const answer = await connection.next(({ event }) => event === undefined);
      if (answer.error !== undefined) throw new BatonError("VM_REFUSED", `${execute}: ${answer.error.desc}`);
      answers.push(answer.return);
    }
    return answers.slice(1);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** The messages of a server, one after the other. */
class Connection {
  readonly #messages: Answer[] = [];
  #rest = "";
  #failure: BatonError | undefined;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    const fail = (why: string, cause?: unknown) => {
      this.#failure ??= new BatonError("VM_NOT_ANSWERING", `The VM does not answer: ${why}`, { cause });
      this.#wake();
    };
    socket.setEncoding("utf8");
    socket.on("error", (error) => fail(error.message, error));
    socket.on("close", () => fail("it has closed the connection"));
    socket.on("data", (text: string) => {
      // What waits for its end is not looked through again.
      const end = text.lastIndexOf("\n");
      const lines = end < 0 ? [] : (this.#rest + text.slice(0, end)).split("\n");
      this.#rest = end < 0 ? this.#rest + text : text.slice(end + 1);
      try {
        this.#messages.push(...lines.filter((line) => line.trim() !== "").map((line) => JSON.parse(line)));
      } catch (error) {
        socket.destroy(new Error("what it says is no JSON", { cause: error }));
      }
      if (this.#rest.length > MAX_LINE_CHARACTERS) socket.destroy(new Error("what it says has no end"));
      this.#wake();
    });
  }

  /** The next message that fits; others are passed by. */
  async next(fits: (message: Answer) => boolean): Promise<Answer> {
    for (;;) {
      const message = this.#messages.shift();
      if (message === undefined) {
        if (this.#failure !== undefined) throw this.#failure;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      } else if (fits(message)) return message;
    }
  }
}
