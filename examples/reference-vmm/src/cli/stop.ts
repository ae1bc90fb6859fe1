import { BatonError } from "@baton/linux";
import { askVm } from "../client/qmp-client.js";
import type { VmEntry } from "../runtime-directory/entry.js";
import { findVm } from "../runtime-directory/lookup.js";
import { subcommandArguments } from "./arguments.js";
import { exitCode } from "./exit-code.js";
import { hasEnded } from "./wait-for-end.js";

const DEFAULT_TIMEOUT_MS = 30_000;
/** How long a VM that was told to quit may take for it. */
const QUIT_TIMEOUT_MS = 10_000;
/** A VM that breaks off may be ending. */
const GRACE_MS = 200;

/** Presses a VM's power button and, where it does not end in time, ends it. Fails with `VM_NOT_ENDED` if it stays. */
export async function runStop(args: readonly string[]): Promise<number> {
  const usage = "baton stop NAME [--timeout SECONDS]";
  const { words, seconds } = subcommandArguments(usage, args, { timeout: { type: "string" } }, 1);
  const timeoutMs = seconds("timeout", DEFAULT_TIMEOUT_MS);
  const entry = findVm(words[0] as string);
  if (timeoutMs > 0) {
    await tell(entry, "system_powerdown");
    if (await hasEnded(entry, timeoutMs)) {
      process.stdout.write(`${entry.name}: has shut down\n`);
      return exitCode.ok;
    }
  }
  await tell(entry, "quit");
  if (!(await hasEnded(entry, QUIT_TIMEOUT_MS))) {
    throw new BatonError("VM_NOT_ENDED", `'${entry.name}' (process ${entry.pid}) has not ended`, {
      hint: `Send it SIGTERM, or SIGKILL: kill -KILL ${entry.pid}`,
    });
  }
  const why = timeoutMs > 0 ? `did not shut down within ${timeoutMs / 1000} s, and was ended` : "was ended";
  process.stdout.write(`${entry.name}: ${why}\n`);
  return exitCode.ok;
}

/** A VM that ends meanwhile has no need to answer. */
async function tell(entry: VmEntry, command: string): Promise<void> {
  const { qmp } = entry.sockets;
  if (qmp === undefined) throw new BatonError("VM_NOT_ANSWERING", `'${entry.name}' is being set up: try again`);
  try {
    await askVm(qmp, [[command]]);
  } catch (error) {
    if (!(await hasEnded(entry, GRACE_MS))) throw error;
  }
}
