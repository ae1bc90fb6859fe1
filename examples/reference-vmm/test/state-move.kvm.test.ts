import { setTimeout as delay } from "node:timers/promises";
import { setIrqLine } from "@baton/core-kvm";
import { guestPath, tickerCmdline, tickerMix } from "@baton/guests";
import { liveFds } from "@baton/linux";
import { RamBlock } from "@baton/memory";
import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, serial, type VirtualMachine, type VmConfig } from "../src/index.js";
import { derivedValues, withoutDerived } from "../src/machine/vmstate/derived.js";
import { seededRandom } from "./support/random.js";
import { hasStaleStackPointer } from "./support/stale-stack-pointer.js";
import { codecOf, throughCodec } from "./support/state-codecs.js";
import { checkTickerSlots, TickerDevices, tickerWord } from "./support/ticker.js";

const SEED = 20261121;
const SIZE = 96n << 20n;
const IRQ_GSI = 5;
const MP_STATE_HALTED = 3;
/** Where a stop is to be met at least once. */
const CLASSES = ["hlt", "cpl3", "cpl0", "forwarded-in", "rep-outs", "mmio-crossing"] as const;

const REP_OUTSB = [0xf3, 0x6e];
/** The instruction; some kinds of KVM report a vCPU that waits in it as running, past it. */
const HLT = 0xf4;

/** Where a paused VM was stopped. KVM exits for each byte of `rep outsb`: inside it, the instruction is still to be repeated. */
function classify(
  vm: VirtualMachine,
  state: Awaited<ReturnType<VirtualMachine["saveState"]>>,
): (typeof CLASSES)[number] | "other" {
  const [vcpu] = state.vcpus;
  if (vcpu === undefined) return "other";
  switch (vm.stopPoints[0]) {
    case "forwardedIn":
      return "forwarded-in";
    case "mmioCrossing":
      return "mmio-crossing";
    case "ioOut": {
      const code = vm.machine.memory.read(vcpu.registers.rip, 2);
      return REP_OUTSB.every((byte, i) => code[i] === byte) && vcpu.registers.rcx > 0n ? "rep-outs" : "other";
    }
    case "guest":
      if (vcpu.mpState === MP_STATE_HALTED || vm.machine.memory.readU8(vcpu.registers.rip - 1n) === HLT) return "hlt";
      return vcpu.specialRegisters.cs.dpl === 3 ? "cpl3" : "cpl0";
    default:
      return "other";
  }
}

/** Kinds of load, and their share of the moves: one that waits, one that computes, one that talks to late devices. */
const LOADS = [
  { share: 0.15, mix: tickerMix.HLT, rate: 60, spin: 0 },
  { share: 0.15, mix: tickerMix.SPIN3, rate: 60, spin: 1_000_000 },
  { share: 0.7, mix: tickerMix.SPIN0 | tickerMix.IN | tickerMix.OUTS | tickerMix.MMIO, rate: 60, spin: 100_000 },
];

/**
 * Runs the ticker under a load and moves it `count` times, its state in each encoding in turn; returns how often each
 * class was met.
 */
async function moveTicker(
  load: (typeof LOADS)[number],
  count: number,
  random: () => number,
): Promise<Map<string, number>> {
  const devices = new TickerDevices(() => Math.floor(random() * 3));
  using block = RamBlock.create({ id: "pc.ram", size: SIZE, backend: { kind: "memfd" } });
  let output = "";
  const onOutput = (bytes: Uint8Array) => {
    output += Buffer.from(bytes).toString("latin1");
  };
  const config: VmConfig = {
    memory: { sizeMiB: Number(SIZE >> 20n), block },
    boot: { kernel: guestPath("ticker"), cmdline: tickerCmdline({ ...load, gsi: IRQ_GSI, dot: 0 }) },
    devices: [serial({ onOutput }), ...devices.devices],
  };
  const met = new Map<string, number>();
  let vm = await createVm(config);
  try {
    await vm.start();
    while (tickerWord(vm.machine.memory, "TICKS") < 3) await delay(5);
    let raised = 0;
    for (let move = 0; move < count; move++) {
      await delay(Math.floor(random() * 30));
      if (tickerWord(vm.machine.memory, "IRQ") === raised) {
        setIrqLine(vm.machine.vm.fd.raw, IRQ_GSI, true);
        setIrqLine(vm.machine.vm.fd.raw, IRQ_GSI, false);
        raised++;
      }
      await vm.pause();
      if (hasStaleStackPointer(vm)) {
        met.set("stale RSP (not moved)", (met.get("stale RSP (not moved)") ?? 0) + 1);
        await vm.resume();
        move--;
        continue;
      }
      const saved = await vm.saveState();
      const place = classify(vm, saved);
      met.set(place, (met.get(place) ?? 0) + 1);
      const state = throughCodec(codecOf(move), saved, vm.machine.inventory);
      expect(state).toEqual(saved);
      await vm.close();
      vm = await createVm(config, { incoming: { state } });
      const again = await vm.saveState();
      expect(withoutDerived(again)).toEqual(withoutDerived(saved));
      expect(derivedValues.filter(({ holds }) => !holds(saved, again)).map(({ path }) => path)).toEqual([]);
      await vm.resume();
    }
    const { memory } = vm.machine;
    const ticks = tickerWord(memory, "TICKS");
    const deadline = Date.now() + 10_000;
    while (tickerWord(memory, "TICKS") < ticks + 5 || tickerWord(memory, "IRQ") < raised) {
      if (Date.now() > deadline) {
        const now = tickerWord(memory, "TICKS");
        const irq = tickerWord(memory, "IRQ");
        throw new Error(`mix ${load.mix}: tick ${ticks}, then ${now}; ${irq} of ${raised} interrupts`);
      }
      await delay(10);
    }
    await vm.pause();
    expect(devices.errors).toEqual([]);
    expect(output).not.toMatch(/^B/m);
    expect(tickerWord(memory, "BAD")).toBe(0);
    expect(checkTickerSlots(memory)).toEqual([]);
    expect(tickerWord(memory, "IRQ")).toBe(raised);
    expect(tickerWord(memory, "LAPIC")).toBeGreaterThanOrEqual(tickerWord(memory, "TICKS"));
  } finally {
    await vm.close();
  }
  return met;
}

describeKvm("a running VM's state", () => {
  it("moves through sections in every encoding into a fresh KVM VM over the same RAM, and the guest goes on without a loss", async () => {
    const count = rounds({ quick: 100, full: 1000 });
    const random = seededRandom(SEED);
    const fdsBefore = liveFds().length;
    const met = new Map<string, number>();
    for (const load of LOADS) {
      for (const [place, n] of await moveTicker(load, Math.ceil(count * load.share), random))
        met.set(place, (met.get(place) ?? 0) + n);
    }
    console.log(`${count} moves (seed ${SEED}) met: ${[...met].map(([name, n]) => `${name} ${n}`).join(", ")}`);
    expect(CLASSES.filter((name) => !met.has(name))).toEqual([]);
    expect(liveFds().length).toBe(fdsBefore);
  }, 600_000);
});
