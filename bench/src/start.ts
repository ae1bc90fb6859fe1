import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { threadPool } from "@baton/core-kvm";
import { guestPath } from "@baton/guests";
import { firstByte } from "./first-byte.js";
import { markdownTable, median } from "./statistics.js";
import { runTwin } from "./twin.js";

const REPEATS = 20;

/** Milliseconds from the start of a Node process to the first byte that it prints. */
async function runNode(script: string): Promise<number> {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const began = performance.now();
  const child = spawn(process.execPath, [fileURLToPath(new URL(`./${script}.js`, import.meta.url))], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  const elapsed = performance.now() - began;
  await ended;
  return elapsed;
}

/** From `createVm` to the guest's first byte: warm against C, and from process start against the floor. */
export async function benchStart(): Promise<string> {
  await threadPool.prestart(2);
  for (let i = 0; i < 5; i++) await firstByte();
  const warm: number[] = [];
  const twin: number[] = [];
  const cold: number[] = [];
  const floor: number[] = [];
  for (let i = 0; i < REPEATS; i++) {
    twin.push((runTwin("start", guestPath("hello"), "1")[0]?.[0] as number) / 1e6);
    warm.push(await firstByte());
    floor.push(await runNode("floor"));
    cold.push(await runNode("first-byte"));
  }
  const row = (name: string, own: number[], peer: number[]) => [
    name,
    median(own).toFixed(1),
    median(peer).toFixed(1),
    `${(median(own) / median(peer)).toFixed(2)} x`,
  ];
  return markdownTable(
    [`ms, medians of ${REPEATS}`, "Baton", "peer", "ratio"],
    [
      row("warm createVm to first byte; C twin", warm, twin),
      row("process start to first byte; node, koffi and a started worker", cold, floor),
    ],
  );
}
