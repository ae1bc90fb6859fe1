import type { RamBlock } from "@baton/memory";
import { describe, expect, it } from "@jest/globals";
import { Driver, type Part } from "../../test/support/driver.js";
import { BASE, bits, features, ram } from "../../test/support/world.js";
import type { QueueFeatures } from "../index.js";
import { createQueue } from "./create.js";

const part = (length: number, writable = false): Part => ({ gpa: BASE + 0x8000, length, writable });
const dirty = (block: RamBlock, work: () => void) => {
  const reader = block.dirty.reader("test");
  reader.take();
  work();
  return reader.take();
};

describe("packed queue", () => {
  function setUp(on: Partial<QueueFeatures> = {}, size = 5) {
    const { memory, block } = ram();
    const all = features({ packed: true, ...on });
    const driver = new Driver(memory, all, BASE, size, BASE + 0x2000);
    const queue = createQueue({ index: 0, memory, features: bits(all) });
    queue.configure(driver.rings.layout);
    const { rings } = driver;
    const add = (...parts: Part[]) => {
      driver.add(parts);
      return rings.publish();
    };
    return { memory, block, driver, rings, queue, add, layout: rings.layout };
  }

  it("2.8.1: goes round, turning its wrap counters", () => {
    const { add, queue, rings } = setUp();
    const wraps = [];
    for (let i = 0; i < 5; i++) {
      add(part(1), part(2), part(3, true));
      const chain = queue.pop()!;
      expect(chain).toMatchObject({ descriptors: 3, readableLength: 3, writableLength: 3, position: (i * 3) % 5 });
      queue.push(chain, i % 4);
      expect(rings.take()).toEqual({ id: chain.id, length: i % 4 });
      const state = queue.save();
      if (state.kind === "packed") wraps.push([state.lastUsed, state.usedWrap, state.availWrap]);
    }
    expect(wraps).toEqual([
      [3, true, true],
      [1, false, false],
      [4, false, false],
      [2, true, true],
      [0, false, false],
    ]);
  });

  it("2.8.6: the buffer id stands in the last descriptor of a list, and may be any", () => {
    const { memory, queue, layout, add } = setUp();
    add(part(1), part(1));
    memory.writeU16(layout.desc + 12n, 7);
    memory.writeU16(layout.desc + 28n, 0xabcd);
    queue.push(queue.pop()!, 0);
    expect(memory.readU16(layout.desc + 12n)).toBe(0xabcd);
  });

  it("2.8.7: an indirect table takes one descriptor, and all of it counts", () => {
    const { driver, rings, queue } = setUp({ indirect: true });
    driver.add([part(1), part(2), part(3, true)], 0);
    rings.publish();
    expect(queue.pop()).toMatchObject({ descriptors: 1, readableLength: 3, writableLength: 3 });
  });

  it("2.8.13: publishes several used descriptors at once, and marks them on both sides of the wrap", () => {
    const { add, queue, rings, block } = setUp({}, 600);
    for (let i = 0; i < 599; i++) {
      add(part(8, true));
      queue.push(queue.pop()!, 0);
      rings.take();
    }
    for (let i = 0; i < 3; i++) add(part(8, true));
    const chains = [queue.pop()!, queue.pop()!, queue.pop()!];
    const marked = dirty(block, () => {
      for (const chain of chains) queue.complete(chain, 1);
      queue.publishDone();
    });
    expect(marked).toEqual([
      { offset: 0, length: 4096 },
      { offset: 8192, length: 4096 },
    ]);
    expect([rings.take(), rings.take(), rings.take(), rings.take()]).toMatchObject([{ length: 1 }, {}, {}, null]);
  });

  it("an id that is in flight already breaks it, and so do more descriptors than there are", () => {
    const twice = setUp();
    twice.add(part(8));
    twice.add(part(8));
    twice.memory.writeU16(twice.layout.desc + 28n, 0);
    twice.queue.pop();
    expect(() => twice.queue.pop()).toThrow(expect.objectContaining({ reason: "duplicate" }));
    const many = setUp({}, 2);
    many.add(part(8), part(8));
    many.queue.pop();
    many.memory.writeU32(many.layout.desc + 12n, 0x8000_0009);
    expect(() => many.queue.pop()).toThrow(expect.objectContaining({ reason: "overcommit" }));
  });

  it("2.8.10: the driver's flags suppress interrupts", () => {
    const { add, queue, memory, layout } = setUp();
    const interrupts = [];
    for (const flags of [1, 0, 2, 3]) {
      memory.writeU16(layout.driver + 2n, flags);
      add(part(8));
      queue.push(queue.pop()!, 0);
      interrupts.push(queue.needsNotification());
    }
    expect([...interrupts, queue.needsNotification()]).toEqual([false, true, true, true, false]);
  });

  it("2.8.10: an event place is passed once, also on the next lap", () => {
    const { add, queue, rings, memory, layout } = setUp({ eventIndex: true });
    const interrupts = [];
    // Place 1 of the second lap, whose wrap counter is 0.
    memory.writeU32(layout.driver, (2 << 16) | 1);
    for (let i = 0; i < 10; i++) {
      add(part(8));
      queue.push(queue.pop()!, 0);
      rings.take();
      interrupts.push(queue.needsNotification());
    }
    expect(interrupts).toEqual([false, false, false, false, false, false, true, false, false, false]);
    memory.writeU32(layout.driver, (2 << 16) | 77);
    add(part(8));
    queue.push(queue.pop()!, 0);
    expect(queue.needsNotification()).toBe(true);
  });

  it("2.8.10: asks for notifications by flags or by place, and marks that", () => {
    const flag = setUp();
    expect(dirty(flag.block, () => flag.queue.setNotification(false))).toHaveLength(1);
    expect(flag.add(part(8))).toBe(false);
    expect(flag.queue.setNotification(true)).toBe(true);
    expect(flag.add(part(8))).toBe(true);
    const event = setUp({ eventIndex: true });
    expect(event.queue.setNotification(true)).toBe(false);
    expect([event.add(part(8)), event.add(part(8))]).toEqual([true, false]);
    expect(event.memory.readU32(event.layout.device)).toBe(0x2_8000);
  });

  it("2.8.8: in order, what was popped later waits for what was popped first", () => {
    const { add, queue, rings } = setUp({ inOrder: true });
    add(part(8, true));
    add(part(8, true));
    const [first, second] = [queue.pop()!, queue.pop()!];
    queue.push(second, 2);
    expect(rings.take()).toBeNull();
    queue.push(first, 1);
    expect([rings.take(), rings.take()]).toEqual([
      { id: 0, length: 1 },
      { id: 1, length: 2 },
    ]);
  });

  it("2.8.6: ids beyond the size are kept apart, in order or not, and saved in the order of the pops", () => {
    for (const inOrder of [false, true]) {
      const { memory, queue, layout, add } = setUp({ inOrder });
      const ids = [0xffff, 2, 5, 0];
      for (const [i, id] of ids.entries()) {
        add(part(8));
        memory.writeU16(layout.desc + BigInt(16 * i) + 12n, id);
      }
      const chains = ids.map(() => queue.pop()!);
      expect(chains.map((chain) => chain.id)).toEqual(ids);
      expect(queue.save().inFlight.map((entry) => entry.id)).toEqual(ids);
      queue.push(chains[2]!, 0);
      queue.push(chains[0]!, 0);
      expect(queue.inFlight).toBe(inOrder ? 3 : 2);
      expect(queue.save().inFlight.map((entry) => entry.id)).toEqual(inOrder ? [2, 5, 0] : [2, 0]);
    }
  });

  it("gives back only what was popped last, also where the place is the same after a lap", () => {
    const { add, queue, rings } = setUp({}, 4);
    add(part(1));
    const held = queue.pop()!;
    for (let i = 0; i < 2; i++) {
      add(part(2), part(2));
      queue.push(queue.pop()!, 0);
      rings.take();
    }
    expect(() => queue.unpop(held)).toThrow("not the one popped last");
    queue.push(held, 0);
    expect(rings.take()).toEqual({ id: held.id, length: 0 });
  });

  it("2.8.7: a table at any alignment", () => {
    const { memory, driver, rings, queue, layout } = setUp({ indirect: true });
    driver.add([part(1), part(2), part(3, true)], 0);
    memory.write(BASE + 0x5001, memory.read(BASE + 0x2000, 48));
    memory.writeU32(layout.desc, BASE + 0x5001);
    rings.publish();
    expect(queue.pop()).toMatchObject({ descriptors: 1, readableLength: 3, writableLength: 3 });
  });

  it("gives back what was popped last, over the wrap", () => {
    const { add, queue, rings } = setUp();
    add(part(1), part(1), part(1));
    queue.push(queue.pop()!, 0);
    rings.take();
    add(part(2), part(2), part(2));
    add(part(3));
    const [first, second] = [queue.pop()!, queue.pop()!];
    expect(() => queue.unpop(first)).toThrow("not the one popped last");
    queue.unpop(second);
    queue.unpop(first);
    expect([queue.pop()?.readableLength, queue.pop()?.readableLength, queue.pop()]).toEqual([6, 3, null]);
  });
});
