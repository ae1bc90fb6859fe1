import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { type BusDevice, DeviceThread } from "@baton/core-kvm";
import { guestPath } from "@baton/guests";
import { createVm, customDevice } from "@baton/reference-vmm";
import { embedderRegister, LOOP_GPA, LOOP_PORT, MARK_PORT } from "./device.js";
import { markdownTable, median } from "./statistics.js";
import { runTwin } from "./twin.js";

const module = pathToFileURL(createRequire(import.meta.url).resolve("@baton/bench/device")).href;
const KINDS = ["port out", "port in", "MMIO write", "MMIO read"];
/** Round trips per loop: enough for tenths of a second each. */
const COUNT = 20_000;
const FORWARDED_COUNT = 4_000;
const REPEATS = 5;

type Placement = "inline" | "device thread" | "embedder";

/** Nanoseconds per round trip of each kind, with the register answered in the given thread. */
async function measure(placement: Placement, level: number): Promise<number[]> {
  const times = new SharedArrayBuffer(128);
  const count = placement === "inline" ? COUNT : FORWARDED_COUNT;
  const register = { module, factory: "registerHandler", shared: new SharedArrayBuffer(8) };
  const handlers = {
    inline: { thread: "vcpu", ...register },
    "device thread": { thread: "device", ...register },
    embedder: { thread: "embedder", handler: embedderRegister() },
  } as const;
  const loop: BusDevice = {
    name: "loop",
    ranges: [
      { space: "pio", base: LOOP_PORT, length: 4 },
      { space: "mmio", base: LOOP_GPA, length: 4096 },
    ],
    handler: handlers[placement],
  };
  const mark: BusDevice = {
    name: "mark",
    ranges: [{ space: "pio", base: MARK_PORT, length: 4 }],
    handler: { thread: "vcpu", module, factory: "markHandler", shared: times },
  };
  await using vm = await createVm({
    memory: { sizeMiB: 64 },
    boot: { kernel: guestPath("exits"), cmdline: `pio=${count} mmio=${count} level=${level}` },
    devices: [customDevice(loop), customDevice(mark)],
  });
  await vm.start();
  await vm.wait({ signal: AbortSignal.timeout(300_000) });
  const marks = new BigUint64Array(times);
  return KINDS.map((_, i) => Number((marks[2 * (i + 1) + 1] as bigint) - (marks[2 * (i + 1)] as bigint)) / count);
}

function measureTwin(level: number): number[] {
  const lines = runTwin("exits", guestPath("exits"), `pio=${COUNT} mmio=${COUNT} level=${level}`);
  return lines.map(([, ns]) => (ns as number) / COUNT);
}

/** Exit round trips against C, alternating, medians. */
export async function benchExits(): Promise<string> {
  const thread = await DeviceThread.start();
  const rows: (string | number)[][] = [];
  for (const level of [3, 0]) {
    const samples = {
      c: [] as number[][],
      inline: [] as number[][],
      device: [] as number[][],
      embedder: [] as number[][],
    };
    for (let i = 0; i < REPEATS; i++) {
      samples.c.push(measureTwin(level));
      samples.inline.push(await measure("inline", level));
      samples.device.push(await measure("device thread", level));
      samples.embedder.push(await measure("embedder", level));
    }
    KINDS.forEach((kind, k) => {
      const us = (runs: number[][]) => median(runs.map((run) => run[k] as number)) / 1000;
      const c = us(samples.c);
      const inline = us(samples.inline);
      const ratios = samples.c.map((run, i) => (samples.inline[i]?.[k] as number) / (run[k] as number));
      const cells = [c, inline, us(samples.device), us(samples.embedder)].map((value) => value.toFixed(2));
      rows.push([`${kind}, CPL${level}`, ...cells.slice(0, 2), `${median(ratios).toFixed(2)} x`, ...cells.slice(2)]);
    });
  }
  await thread.release();
  return markdownTable(["µs per round trip", "C", "inline", "inline / C", "device thread", "embedder"], rows);
}
