import { connect } from "node:net";
import { createInterface } from "node:readline";

/** A connection to QEMU's monitor. */
export interface Qmp extends Disposable {
  /** Gives what the command returns. */
  execute(command: string, parameters?: object): Promise<unknown>;
}

/** Connects to the monitor on the Unix socket at `path`. */
export async function openQmp(path: string): Promise<Qmp> {
  const socket = connect(path);
  const waiting: ((reply: { return?: unknown; error?: { desc: string } }) => void)[] = [];
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  socket.on("error", () => {});
  createInterface({ input: socket }).on("line", (line) => {
    const message = JSON.parse(line);
    if ("return" in message || "error" in message) waiting.shift()?.(message);
  });
  const execute = (command: string, parameters: object = {}) =>
    new Promise<unknown>((resolve, reject) => {
      waiting.push((reply) => (reply.error ? reject(new Error(reply.error.desc)) : resolve(reply.return)));
      socket.write(`${JSON.stringify({ execute: command, arguments: parameters })}\n`);
    });
  await execute("qmp_capabilities");
  return { execute, [Symbol.dispose]: () => socket.destroy() };
}
