import { type ChildProcess, spawn } from "node:child_process";
import { BatonError, type Fd, shutdown, socketpair } from "@baton/linux";
import { formatMigrationAddress, type MigrationAddress } from "./address.js";
import { DescriptorChannel } from "./descriptor-channel.js";
import { owning } from "./file.js";

type ExecAddress = MigrationAddress & { kind: "exec" };

interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", () => resolve({ code: -1, signal: null }));
  });
}

function start(address: ExecAddress, direction: "read" | "write"): DescriptorChannel {
  const name = formatMigrationAddress(address);
  const [own, theirs] = socketpair({ name });
  let child: ChildProcess;
  try {
    child = spawn("/bin/sh", ["-c", address.command], {
      stdio: direction === "write" ? [theirs.raw, "ignore", "inherit"] : ["ignore", theirs.raw, "inherit"],
    });
  } catch (error) {
    own.close();
    throw new BatonError("CHANNEL_OPEN", `${name}: the shell cannot be started`, { cause: error });
  } finally {
    theirs.close();
  }
  const exit = exitOf(child);
  return owning(own, () => channelOf(own, name, child, exit, direction));
}

function channelOf(
  own: Fd,
  name: string,
  child: ChildProcess,
  exit: Promise<Exit>,
  direction: "read" | "write",
): DescriptorChannel {
  return new DescriptorChannel(own, name, {
    async end(run) {
      if (direction === "write") shutdown(own, "write");
      await run({ op: "await-end" });
      const { code, signal } = await exit;
      if (code !== 0) {
        const how = signal ? `was ended by ${signal}` : `ended with status ${code}`;
        throw new BatonError("CHANNEL_COMMAND", `${name}: the command ${how}`, { details: { code, signal } });
      }
    },
    async close(ended) {
      if (ended || child.pid === undefined) return;
      child.kill("SIGTERM");
      const killer = setTimeout(() => child.kill("SIGKILL"), 1000);
      await exit;
      clearTimeout(killer);
    },
  });
}

/** Runs a shell's command with the stream as its standard input. `end` throws `CHANNEL_COMMAND` where it fails. */
export function writeExecChannel(address: ExecAddress): DescriptorChannel {
  return start(address, "write");
}

/** Runs a shell's command and reads the stream from its standard output. */
export function readExecChannel(address: ExecAddress): DescriptorChannel {
  return start(address, "read");
}
