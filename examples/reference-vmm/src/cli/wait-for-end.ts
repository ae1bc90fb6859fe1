import { setTimeout as delay } from "node:timers/promises";
import { isAlive, type VmEntry } from "../runtime-directory/entry.js";

const LOOK_MS = 50;

/** Whether a VM's process has ended, or does so in time. */
export async function hasEnded(entry: VmEntry, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  while (isAlive(entry)) {
    if (performance.now() >= deadline) return false;
    await delay(Math.min(LOOK_MS, withinMs));
  }
  return true;
}
