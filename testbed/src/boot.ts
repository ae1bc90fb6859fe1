import { spawn } from "node:child_process";
import type { RunOptions } from "./run.js";
import { SerialLines } from "./serial.js";
import type { Testbed } from "./testbed.js";

/**
 * How a boot of the testbed ended: `done` (the command ran to its end), `timeout` (it did not, in a testbed that was
 * alive), `wedged` (no sign of life any more), `died` (QEMU ended without the command having ended: a panic or a reset).
 */
export type Ending = "done" | "timeout" | "wedged" | "died";

/** One boot of the testbed. */
export interface Boot {
  readonly ending: Ending;
  readonly exitCode: number | undefined;
  readonly lines: readonly string[];
}

const DONE = /^DONE rc (\d+)$/;
/** After `DONE` all results are on the disk; QEMU gets this long to end by itself. */
const POWER_OFF_MS = 3_000;

/** Leaves out what costs time under emulation and no test needs. */
const FASTER = ["init_on_alloc=0", "mitigations=off", "apparmor=0", "audit=0", "nokaslr", "cryptomgr.notests"];

/** The arguments of QEMU for a testbed: an AMD CPU with nested paging, an Intel IOMMU, the `edu` device for VFIO. */
export function qemuArguments(testbed: Testbed, options: RunOptions): string[] {
  const cpus = Math.min(options.cpus ?? 1, testbed.qemu.maxCpus);
  const modules = options.modules?.length ? [`baton.modules=${options.modules.join(",")}`] : [];
  const kernelArgs = ["console=ttyS0", "quiet", "panic=-1", "intel_iommu=on", "tsc=reliable", ...FASTER, ...modules];
  return [
    ...testbed.qemu.leadingArgs,
    ...["-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max,+svm,+npt"],
    ...["-smp", String(cpus), "-m", String(options.memoryMiB ?? 4096)],
    ...["-device", "intel-iommu,intremap=on,caching-mode=on", "-device", "edu,addr=3"],
    ...["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"],
    ...["-serial", "stdio", "-chardev", "socket,id=heartbeat,fd=3", "-serial", "chardev:heartbeat"],
    ...["-kernel", testbed.kernel.vmlinux, "-initrd", testbed.baseImage],
    ...["-append", [...kernelArgs, ...(options.kernelArgs ?? [])].join(" ")],
    ...(options.extraQemuArgs ?? []),
  ];
}

/** The two disk images of a run. */
export interface Disks {
  readonly payload: string;
  readonly results: string;
}

/** The arguments for the disks: `/dev/vda` and `/dev/vdb` inside. */
export function diskArguments({ payload, results }: Disks): string[] {
  return [
    ...["-drive", `file=${payload},format=raw,if=virtio,readonly=on`],
    ...["-drive", `file=${results},format=raw,if=virtio,cache=unsafe`],
  ];
}

/** Starts the testbed once with the payload and the results disk, and watches it to its end. */
export async function bootOnce(
  testbed: Testbed,
  options: RunOptions,
  disks: Disks,
  signal: AbortSignal | undefined,
  more: readonly string[] = [],
): Promise<Boot> {
  signal?.throwIfAborted();
  const args = [...qemuArguments(testbed, options), ...diskArguments(disks), ...more];
  // The emulator must not outlive this process, however that ends.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", testbed.qemu.program, ...args], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });

  let ending: Ending = "died";
  let exitCode: number | undefined;
  let lastSign = performance.now();
  const stop = (reason: Ending): void => {
    ending = reason;
    child.kill("SIGKILL");
  };
  const serial = new SerialLines((line) => {
    options.onLine?.(line);
    const done = DONE.exec(line);
    if (done !== null && exitCode === undefined) {
      exitCode = Number(done[1]);
      ending = "done";
      powerOff = setTimeout(() => child.kill("SIGKILL"), POWER_OFF_MS);
    }
  });
  const silenceMs = options.silenceMs ?? 30_000;
  const deadline = setTimeout(() => stop("timeout"), options.timeoutMs ?? 300_000);
  const watchdog = setInterval(
    () => {
      if (exitCode === undefined && performance.now() - lastSign > silenceMs) stop("wedged");
    },
    Math.min(1_000, silenceMs),
  );
  let powerOff: NodeJS.Timeout | undefined;
  const abort = (): void => void child.kill("SIGKILL");
  signal?.addEventListener("abort", abort, { once: true });

  child.stdout!.on("data", (chunk: Buffer) => {
    lastSign = performance.now();
    serial.push(chunk);
  });
  child.stderr!.on("data", (chunk: Buffer) => serial.push(chunk));
  child.stdio[3]!.on("data", () => {
    lastSign = performance.now();
  });
  try {
    await new Promise<void>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", () => resolve());
    });
  } finally {
    clearTimeout(deadline);
    clearTimeout(powerOff);
    clearInterval(watchdog);
    signal?.removeEventListener("abort", abort);
  }
  signal?.throwIfAborted();
  serial.end();
  return { ending, exitCode, lines: serial.lines };
}
