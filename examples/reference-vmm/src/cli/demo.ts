import { Kvm, threadPool } from "@baton/core-kvm";
import { guestPath } from "@baton/guests";
import { BatonError } from "@baton/linux";
import { RamBlock } from "@baton/memory";
import { serial, type VmConfig } from "../config.js";
import { createVm } from "../create-vm.js";
import type { VirtualMachine, VmOutcome } from "../virtual-machine.js";
import { exitCode } from "./exit-code.js";

/** What `baton demo` returns on a machine whose KVM cannot be used. */
export const NO_KVM_EXIT_CODE = 4;

const SIZE_MIB = 32;
const TIMEOUT_MS = 50_000;
/** The guest has printed this much of its work when its state is moved. */
const MOVE_AFTER = /\n {2}\.{6}/;

const say = (text: string) => process.stdout.write(`${text}\n`);
const ms = (since: number) => `${(performance.now() - since).toFixed(1)} ms`;

/**
 * Boots a small guest, stops it halfway, carries its state into a fresh KVM virtual machine over the same memory, and
 * lets it finish there; says what happens as it happens. Ends by itself.
 */
export async function runDemo(): Promise<number> {
  try {
    Kvm.open().close();
  } catch (error) {
    const problem = BatonError.from(error, "KVM_NOT_AVAILABLE");
    say(`This machine cannot run virtual machines: ${problem.message}.`);
    if (problem.hint !== undefined) say(`How to fix it: ${problem.hint}.`);
    return NO_KVM_EXIT_CODE;
  }
  await threadPool.prestart(1);
  using block = RamBlock.create({ id: "pc.ram", size: BigInt(SIZE_MIB) << 20n, backend: { kind: "memfd" } });
  const demo = new Demo(block);
  const outcome = await demo.run();
  return outcome.reason === "debug-exit" ? exitCode.ok : exitCode.internalError;
}

class Demo {
  readonly #config: VmConfig;
  #printed = "";
  #started = 0;
  #firstByte: string | undefined;
  #onProgress: () => void = () => {};

  constructor(block: RamBlock) {
    const onOutput = (bytes: Uint8Array) => {
      this.#firstByte ??= ms(this.#started);
      this.#printed += Buffer.from(bytes).toString("latin1");
      process.stdout.write(bytes);
      this.#onProgress();
    };
    this.#config = {
      memory: { sizeMiB: SIZE_MIB, block },
      boot: { kernel: guestPath("hello"), cmdline: "primes=300000" },
      devices: [serial({ onOutput })],
    };
  }

  async run(): Promise<VmOutcome> {
    say(`Making a virtual machine: ${SIZE_MIB} MiB of memory, one CPU, a serial port. What it prints is indented.`);
    this.#started = performance.now();
    let vm = await createVm(this.#config);
    try {
      await vm.start();
      const early = await Promise.race([vm.wait(), this.#halfway()]);
      if (early !== undefined) return this.#report(early, vm);
      vm = await this.#move(vm);
      return this.#report(await vm.wait({ signal: AbortSignal.timeout(TIMEOUT_MS) }), vm);
    } finally {
      await vm.close();
    }
  }

  #halfway(): Promise<undefined> {
    return new Promise((resolve) => {
      this.#onProgress = () => MOVE_AFTER.test(this.#printed) && resolve(undefined);
      this.#onProgress();
    });
  }

  async #move(vm: VirtualMachine): Promise<VirtualMachine> {
    const began = performance.now();
    await vm.pause();
    if (vm.runState !== "paused") return vm;
    const state = await vm.saveState();
    await vm.close();
    const next = await createVm(this.#config, { incoming: { state } });
    await next.resume();
    say(
      ` <- stopped here, ${state.vcpus[0]?.msrs.length} MSRs and all registers carried into a new KVM virtual machine`,
    );
    say(`     over the same memory, and running again: ${ms(began)}. The guest has not noticed:`);
    return next;
  }

  #report(outcome: VmOutcome, vm: VirtualMachine): VmOutcome {
    const exits = vm.machine.vcpus.threads.reduce((sum, thread) => sum + thread.statistics.exits, 0);
    say(
      `\nThe guest ended itself (${outcome.reason}). Its first byte came ${this.#firstByte} after createVm was called;`,
    );
    say(`${exits} of its accesses were answered since the move. Next: examples/hello-kvm, docs/, baton -help.`);
    return outcome;
  }
}
