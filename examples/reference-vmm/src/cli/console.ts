import { connect, type Socket } from "node:net";
import { BatonError, isatty } from "@baton/linux";
import type { VmEntry } from "../runtime-directory/entry.js";
import { findVm } from "../runtime-directory/lookup.js";
import { TerminalMode } from "../surface/terminal-mode.js";
import { subcommandArguments } from "./arguments.js";
import { exitCode } from "./exit-code.js";
import { hasEnded } from "./wait-for-end.js";

/** Ctrl-], as in telnet and virsh. */
const ESCAPE = 0x1d;
/** How long a VM may take to end after it has closed its console. */
const ENDING_MS = 2000;
const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

type Ending = "detached" | "disconnected";

/** Connects standard input and output to a VM's serial port, until Ctrl-] is typed or the VM ends. */
export async function runConsole(args: readonly string[]): Promise<number> {
  const { words } = subcommandArguments("baton console NAME", args, {}, 1);
  const entry = findVm(words[0] as string);
  const serial = await connectTo(entry);
  const terminal = isatty(0);
  if (terminal) process.stderr.write(`Connected to '${entry.name}'; Ctrl-] leaves.\n`);
  const ending = await converse(serial, terminal);
  if (terminal) process.stderr.write("\n");
  if (ending === "disconnected" && !(await hasEnded(entry, ENDING_MS))) {
    throw new BatonError("CONSOLE_TAKEN", `'${entry.name}' has ended the connection`, {
      hint: "Another client may have its console: there can be one at a time",
    });
  }
  return exitCode.ok;
}

async function connectTo({ name, sockets }: VmEntry): Promise<Socket> {
  const path = sockets.console;
  if (path === undefined) {
    throw new BatonError("NO_CONSOLE", `'${name}' has no serial port that can be attached to`, {
      hint: "Start it with -serial console, or unix:PATH,server,nowait",
    });
  }
  try {
    const socket = connect(path);
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return socket;
  } catch (error) {
    const { message } = error as Error;
    throw new BatonError("NO_CONSOLE", `The console of '${name}' cannot be had: ${message}`, { cause: error });
  }
}

/** Carries bytes both ways. Input that is no terminal is passed as it is, and the VM heard to its end. */
function converse(serial: Socket, terminal: boolean): Promise<Ending> {
  const { stdin, stdout } = process;
  const mode = terminal ? new TerminalMode() : undefined;
  return new Promise<Ending>((resolve) => {
    const leave = () => resolve("detached");
    for (const signal of signals) process.once(signal, leave);
    serial.on("error", () => resolve("disconnected"));
    serial.on("close", () => resolve("disconnected"));
    serial.on("data", (bytes: Buffer) => {
      if (stdout.write(bytes)) return;
      serial.pause();
      stdout.once("drain", () => serial.resume());
    });
    stdin.on("data", (typed: Buffer) => {
      const end = terminal ? typed.indexOf(ESCAPE) : -1;
      const bytes = end < 0 ? typed : typed.subarray(0, end);
      if (bytes.length > 0 && !serial.write(bytes)) {
        stdin.pause();
        serial.once("drain", () => stdin.resume());
      }
      if (end >= 0) leave();
    });
    stdout.on("error", leave);
    stdin.on("error", leave);
    if (terminal) stdin.on("end", leave);
  }).finally(() => {
    stdin.removeAllListeners("data");
    stdin.pause();
    mode?.close();
    serial.end();
    serial.destroySoon();
  });
}
