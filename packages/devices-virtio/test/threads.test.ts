import { once } from "node:events";
import { describe, expect, it } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import { startDevice } from "./support/device.js";
import { Driver } from "./support/driver.js";
import { BASE, bits, features, ram } from "./support/world.js";

const cases = [false, true].flatMap((packed) => [false, true].map((eventIndex) => ({ packed, eventIndex })));

describe("a driver and a device on two threads", () => {
  it.each(cases)("lose no buffer and no notification: %p", async (mode) => {
    using memory = ram();
    const on = features(mode);
    const driver = new Driver(memory.memory, on, BASE, 8, BASE + 0x2_0000);
    const word = () => new Int32Array(new SharedArrayBuffer(4));
    const lines = { doorbell: word(), interrupt: word() };
    const worker = startDevice(memory.memory.describe(), bits(on), driver.rings.layout, lines);
    const failed = once(worker, "error").then(([error]) => Promise.reject(error));
    failed.catch(() => {});
    const many = rounds({ quick: 3000, full: 300_000 });
    let added = 0;
    let done = 0;
    let interrupts = 0;
    try {
      while (done < many) {
        // A few at a time, so that both sides fall asleep often.
        for (let i = 0; i <= added % 7 && added < many; i++, added++) {
          if (driver.add([{ gpa: BASE + 0x8_0000, length: 8, writable: true }]) === null) break;
        }
        if (driver.rings.publish()) {
          Atomics.add(lines.doorbell, 0, 1);
          Atomics.notify(lines.doorbell, 0);
        }
        driver.rings.setInterrupts(false);
        for (let used = driver.rings.take(); used; used = driver.rings.take(), done++) {
          expect(used.length).toBe(used.id % 5);
        }
        const seen = Atomics.load(lines.interrupt, 0);
        if (driver.rings.free === 8 || driver.rings.setInterrupts(true)) continue;
        // Lost if nothing comes: the first wait includes the start of the thread.
        if (Atomics.wait(lines.interrupt, 0, seen, 10_000) === "timed-out") throw new Error(`asleep after ${done}`);
        interrupts++;
      }
    } finally {
      Atomics.store(lines.doorbell, 0, -1);
      Atomics.notify(lines.doorbell, 0);
      await Promise.race([once(worker, "exit"), failed]);
    }
    expect(interrupts).toBeGreaterThan(0);
  });
});
