import { Worker } from "node:worker_threads";
import type { GuestMemoryDescriptor } from "@baton/memory";
import type { QueueLayout } from "../../src/index.js";

/** What the two threads share: each word counts the times that its side was told. */
export interface Lines {
  /** Doorbells from the driver; -1 ends the device. */
  readonly doorbell: Int32Array;
  /** Interrupts from the device. */
  readonly interrupt: Int32Array;
}

/** Workers run the built package: they cannot load TypeScript. */
const built = new URL("../../dist/index.js", import.meta.url).href;

/** A device in a thread of its own: uses whatever comes, with a length of its buffer's id modulo 5, and sleeps between. */
export function startDevice(
  memory: GuestMemoryDescriptor,
  features: bigint,
  layout: QueueLayout,
  { doorbell, interrupt }: Lines,
): Worker {
  const code = `
    const { workerData } = require("node:worker_threads");
    const { createRequire } = require("node:module");
    const { built, memory, features, layout, doorbell, interrupt } = workerData;
    const memoryPackage = require("node:url").pathToFileURL(createRequire(built).resolve("@baton/memory")).href;
    Promise.all([import(memoryPackage), import(built)]).then(([{ GuestMemory }, { createQueue }]) => {
      const queue = createQueue({ index: 0, memory: GuestMemory.attach(memory), features });
      queue.configure(layout);
      for (let seen = 0; ; ) {
        do {
          queue.setNotification(false);
          for (let chain = queue.pop(); chain; chain = queue.pop()) {
            queue.push(chain, chain.id % 5);
            if (queue.needsNotification()) {
              Atomics.add(interrupt, 0, 1);
              Atomics.notify(interrupt, 0);
            }
          }
        } while (queue.setNotification(true));
        Atomics.wait(doorbell, 0, seen);
        seen = Atomics.load(doorbell, 0);
        if (seen < 0) return;
      }
    });`;
  return new Worker(code, { eval: true, workerData: { built, memory, features, layout, doorbell, interrupt } });
}
