import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type GuestName, guestPath } from "../../src/index.js";

export const qemuProgram = "qemu-system-x86_64";

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Why QEMU cannot run here, for a test's name; "" if it can. */
export function qemuAbsence(): string {
  return spawnSync(qemuProgram, ["--version"]).status === 0 ? "" : ` (skipped: no ${qemuProgram})`;
}

/** Why QEMU with KVM cannot run here, for a test's name; "" if it can. */
export function qemuKvmAbsence(): string {
  return qemuAbsence() || (isWritable("/dev/kvm") ? "" : " (skipped: no /dev/kvm)");
}

/** A guest that runs. */
export interface RunningGuest {
  /** Its COM1: what it has printed so far, and where it reads from. */
  readonly output: string;
  readonly input: Writable;
  /** Resolves when the condition, looked at again and again, is true; rejects if the guest ends before. */
  becomes(condition: () => boolean | Promise<boolean>): Promise<void>;
  /** Resolves when the text has been printed; rejects if the guest ends without it. */
  printed(text: string): Promise<void>;
  /** Resolves at the end with what the guest wrote to the debug-exit port. */
  readonly ended: Promise<number>;
}

/** A guest that has not ended after this time is killed. */
const LIMIT_MS = 30_000;

/** Starts a guest with virtio-mmio devices of version 2; `devices` are QEMU's words. */
export function startGuest(
  guest: GuestName,
  cmdline: string,
  devices: readonly string[],
  accelerator: "kvm" | "tcg" = "kvm",
): RunningGuest {
  const machine = ["-M", "microvm,acpi=off", "-accel", accelerator, "-m", "64", "-no-reboot"];
  const quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"];
  const exit = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"];
  const modern = ["-global", "virtio-mmio.force-legacy=false"];
  const image = ["-kernel", guestPath(guest), "-append", cmdline];
  const child = spawn(qemuProgram, [...machine, ...quiet, ...exit, ...modern, ...image, ...devices], {
    stdio: ["pipe", "pipe", "ignore"],
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  let output = "";
  let isOver = false;
  child.stdout.setEncoding("latin1").on("data", (text: string) => {
    output += text;
  });
  child.stdin.on("error", () => {});
  const ended = new Promise<number>((resolve) => {
    child.on("close", (status) => {
      isOver = true;
      resolve(((status ?? 0) - 1) / 2);
    });
  });
  const becomes = async (condition: () => boolean | Promise<boolean>) => {
    for (;;) {
      const wasOver = isOver;
      if (await condition()) return;
      if (wasOver) throw new Error(`the guest ended before ${condition}: ${output}`);
      await sleep(10);
    }
  };
  return {
    get output() {
      return output;
    },
    input: child.stdin,
    becomes,
    printed: (text) => becomes(() => output.includes(text)),
    ended,
  };
}
