import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createVm, type DeviceDescription, serial } from "@baton/reference-vmm";

/** What a bench guest is run for. */
export interface GuestJob {
  readonly kernel: string;
  readonly cmdline: string;
  /** The line at which the clocks start: "begin" unless given. They stop at "end". */
  readonly from?: string;
  readonly onFrom?: () => void;
}

/** What one run of a bench guest took, between two of its lines. */
export interface GuestRun {
  readonly ms: number;
  /** Processor time of the VMM with its vCPU. */
  readonly cpuMs: number;
  /** The guest's last line: `key=value` pairs. */
  readonly result: ReadonlyMap<string, string>;
}

const MEMORY_MIB = 64;
const IOTHREAD = "io";
const TICKS_PER_SECOND = 100;

/** Watches a guest's output for the two lines, and takes both clocks at each. */
class Stopwatch {
  #output = "";
  #began: { at: number; cpu: number } | undefined;
  #ended: { at: number; cpu: number } | undefined;
  readonly #from: RegExp;
  readonly #onFrom: () => void;
  readonly #cpuMs: () => number;

  constructor({ from = "begin", onFrom = () => {} }: GuestJob, cpuMs: () => number) {
    this.#from = new RegExp(`^${from}\\s`, "m");
    this.#onFrom = onFrom;
    this.#cpuMs = cpuMs;
  }

  take(text: string): void {
    this.#output += text;
    const now = { at: performance.now(), cpu: this.#cpuMs() };
    if (this.#began === undefined && this.#from.test(this.#output)) {
      this.#began = now;
      this.#onFrom();
    }
    if (this.#ended === undefined && /^end /m.test(this.#output)) this.#ended = now;
  }

  result(): GuestRun {
    const began = this.#began;
    const ended = this.#ended;
    const last = this.#output.trimEnd().split("\n").at(-1) ?? "";
    if (began === undefined || ended === undefined) throw new Error(`the guest did not finish: ${this.#output}`);
    const result = new Map([...last.matchAll(/(\w+)=(\S+)/g)].map((match) => [match[1] as string, match[2] as string]));
    if (result.get("errors") !== "0") throw new Error(`the guest met errors: ${last}`);
    return { ms: ended.at - began.at, cpuMs: ended.cpu - began.cpu, result };
  }
}

/** Runs a bench guest on Baton, in this process; the device is served by an iothread. */
export async function runOnBaton(job: GuestJob, device: (iothread: string) => DeviceDescription): Promise<GuestRun> {
  const watch = new Stopwatch(job, () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  });
  await using vm = await createVm({
    memory: { sizeMiB: MEMORY_MIB },
    boot: { kernel: job.kernel, cmdline: job.cmdline },
    discovery: "cmdline",
    iothreads: [{ id: IOTHREAD }],
    devices: [serial({ onOutput: (bytes) => watch.take(Buffer.from(bytes).toString("latin1")) }), device(IOTHREAD)],
  });
  await vm.start();
  await vm.wait();
  return watch.result();
}

/** Runs a bench guest on QEMU's microvm machine, Debian's package; `device` are the words for back end and device. */
export async function runOnQemu(job: GuestJob, device: readonly string[]): Promise<GuestRun> {
  const machine = ["-M", "microvm,acpi=off", "-accel", "kvm", "-m", `${MEMORY_MIB}`, "-no-reboot"];
  const bare = ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"];
  const devices = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-global", "virtio-mmio.force-legacy=false"];
  const guest = ["-object", `iothread,id=${IOTHREAD}`, ...device, "-kernel", job.kernel, "-append", job.cmdline];
  const child: ChildProcess = spawn("qemu-system-x86_64", [...machine, ...bare, ...devices, ...guest], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const watch = new Stopwatch(job, () => cpuMsOf(child.pid as number));
  let problems = "";
  child.stdout?.setEncoding("latin1").on("data", (text: string) => watch.take(text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (problems += text));
  await new Promise((resolve) => child.once("close", resolve));
  try {
    return watch.result();
  } catch (error) {
    throw new Error(`QEMU: ${problems}`, { cause: error });
  }
}

function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}
