import type { RamBlock } from "@baton/memory";
import { describe, expect, it } from "@jest/globals";
import { Driver, type Part } from "../../test/support/driver.js";
import { BASE, bits, features, ram } from "../../test/support/world.js";
import type { QueueFeatures, VirtQueue } from "../index.js";
import { createQueue } from "./create.js";

const part = (length: number, writable = false): Part => ({ gpa: BASE + 0x8000, length, writable });
const dirty = (block: RamBlock, work: () => void) => {
  const reader = block.dirty.reader("test");
  reader.take();
  work();
  return reader.take();
};

describe("split queue", () => {
  function setUp(on: Partial<QueueFeatures> = {}, size = 4) {
    const { memory, block } = ram();
    const driver = new Driver(memory, features(on), BASE, size, BASE + 0x2000);
    const queue: VirtQueue = createQueue({ index: 0, memory, features: bits(features(on)) });
    queue.configure(driver.rings.layout);
    const { rings } = driver;
    const add = (...parts: Part[]) => {
      driver.add(parts);
      return rings.publish();
    };
    return { memory, block, driver, rings, queue, add, layout: rings.layout };
  }

  it("2.7.13: pops chains in the order of the available ring", () => {
    const { add, queue } = setUp();
    expect([queue.pop(), queue.hasAvailable()]).toEqual([null, false]);
    add(part(3), part(4, true));
    add(part(5));
    expect(queue.hasAvailable()).toBe(true);
    expect(queue.pop()).toMatchObject({ id: 0, readableLength: 3, writableLength: 4, descriptors: 2 });
    expect(queue.pop()).toMatchObject({ id: 2, position: 1, readableLength: 5, writableLength: 0 });
    expect([queue.pop(), queue.inFlight]).toEqual([null, 2]);
  });

  it("2.7.8: publishes several used entries by one index, and marks them", () => {
    const { add, queue, block, memory, layout } = setUp();
    for (let i = 0; i < 3; i++) add(part(8, true));
    const chains = [queue.pop()!, queue.pop()!, queue.pop()!];
    for (const [i, chain] of chains.entries()) queue.complete(chain, i);
    expect(memory.readU16(layout.device + 2n)).toBe(0);
    const marked = dirty(block, () => queue.publishDone());
    expect(marked).toEqual([{ offset: 0, length: 4096 }]);
    expect(memory.readU16(layout.device + 2n)).toBe(3);
    expect([0n, 1n, 2n].map((i) => memory.readU32(layout.device + 8n + 8n * i))).toEqual([0, 1, 2]);
  });

  it("2.7.8: refuses a second push and a length beyond the buffer", () => {
    const { add, queue } = setUp();
    add(part(8, true));
    const chain = queue.pop()!;
    expect(() => queue.push(chain, 9)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    queue.push(chain, 8);
    expect(() => queue.push(chain, 8)).toThrow("pushed already");
    expect(() => queue.unpop(chain)).toThrow("not the one popped last");
  });

  it("2.7.13.3: an index that jumps further than the queue's size breaks it", () => {
    const { memory, queue, layout } = setUp();
    memory.writeU16(layout.driver + 2n, 5);
    expect(() => queue.pop()).toThrow(expect.objectContaining({ reason: "index-jump" }));
  });

  it("a buffer that is available twice breaks it, and so do more descriptors than there are", () => {
    const twice = setUp();
    twice.add(part(8));
    twice.queue.pop();
    twice.memory.writeU16(twice.layout.driver + 2n, 2);
    expect(() => twice.queue.pop()).toThrow(expect.objectContaining({ reason: "duplicate" }));
    const many = setUp();
    many.add(part(8), part(8), part(8), part(8));
    many.queue.pop();
    many.memory.writeU16(many.layout.driver + 6n, 1);
    many.memory.writeU16(many.layout.driver + 2n, 2);
    expect(() => many.queue.pop()).toThrow(expect.objectContaining({ reason: "overcommit" }));
  });

  it("2.7.5.3.2: an indirect table may follow other descriptors, at any alignment", () => {
    const { memory, queue, layout } = setUp({ indirect: true });
    const desc = (at: number | bigint, length: number, flags: number, next: number, gpa = BASE + 0x8000) => {
      memory.writeU64(at, BigInt(gpa));
      memory.writeU32(BigInt(at) + 8n, length);
      memory.writeU32(BigInt(at) + 12n, flags | (next << 16));
    };
    desc(layout.desc, 1, 1, 1);
    desc(layout.desc + 16n, 48, 4, 0, BASE + 0x2003);
    desc(BASE + 0x2003, 2, 1, 2);
    desc(BASE + 0x2023, 3, 2, 0);
    memory.writeU16(layout.driver + 2n, 1);
    expect(queue.pop()).toMatchObject({ readableLength: 3, writableLength: 3, descriptors: 2 });
  });

  it("2.7.7: the driver's flag suppresses interrupts", () => {
    const { add, queue, rings } = setUp();
    add(part(8));
    add(part(8));
    expect(queue.needsNotification()).toBe(false);
    rings.setInterrupts(false);
    queue.push(queue.pop()!, 0);
    expect(queue.needsNotification()).toBe(false);
    expect(rings.setInterrupts(true)).toBe(true);
    queue.push(queue.pop()!, 0);
    expect([queue.needsNotification(), queue.needsNotification()]).toEqual([true, false]);
  });

  it("2.7.7.2: used_event is passed once", () => {
    const { add, queue, memory, layout } = setUp({ eventIndex: true });
    for (let i = 0; i < 4; i++) add(part(8));
    memory.writeU16(layout.driver + 4n + 8n, 2);
    const interrupts = [];
    for (let i = 0; i < 4; i++) {
      queue.push(queue.pop()!, 0);
      interrupts.push(queue.needsNotification());
    }
    expect(interrupts).toEqual([false, false, true, false]);
  });

  it("2.7.7.2: used_event is passed once where the index wraps, also by several at once", () => {
    const { memory, queue, layout } = setUp({ eventIndex: true });
    const state = queue.save();
    if (state.kind === "split") queue.load({ ...state, lastAvail: 0xfffe, lastUsed: 0xfffe });
    for (let i = 0; i < 4; i++) {
      memory.writeU64(layout.desc + 16n * BigInt(i), BigInt(BASE + 0x8000));
      memory.writeU64(layout.desc + 16n * BigInt(i) + 8n, 8n);
      memory.writeU16(layout.driver + 4n + 2n * BigInt((0xfffe + i) & 3), i);
    }
    memory.writeU16(layout.driver + 2n, 2);
    const use = (event: number, count: number) => {
      memory.writeU16(layout.driver + 4n + 8n, event);
      const chains = Array.from({ length: count }, () => queue.pop()!);
      for (const chain of chains) queue.complete(chain, 0);
      queue.publishDone();
      return queue.needsNotification();
    };
    expect([use(0xffff, 1), use(0xffff, 1), use(1, 1), use(1, 1)]).toEqual([false, true, false, true]);
    memory.writeU16(layout.driver + 2n, 6);
    // The entries 2 to 4: one that is asked for in the middle, and one that has passed.
    expect([use(3, 3), use(4, 1)]).toEqual([true, false]);
  });

  it("2.7.10: the used ring's flag or avail_event asks for notifications, and is marked", () => {
    const flag = setUp();
    expect(dirty(flag.block, () => flag.queue.setNotification(false))).toHaveLength(1);
    expect(flag.add(part(8))).toBe(false);
    expect(flag.queue.setNotification(true)).toBe(true);
    expect(flag.add(part(8))).toBe(true);
    const event = setUp({ eventIndex: true });
    expect(event.add(part(8))).toBe(true);
    expect(event.add(part(8))).toBe(false);
    expect(event.queue.setNotification(true)).toBe(true);
    event.queue.pop();
    event.queue.pop();
    expect(dirty(event.block, () => expect(event.queue.setNotification(true)).toBe(false))).toHaveLength(1);
    expect(event.add(part(8))).toBe(true);
    expect(event.memory.readU16(event.layout.device)).toBe(0);
  });

  it("keeps all used buffers of a driver that gives more before it has seen them used", () => {
    const { add, queue, memory, layout } = setUp();
    for (let i = 0; i < 4; i++) add(part(8, true));
    for (const more of [8, 12]) {
      for (let chain = queue.pop(); chain !== null; chain = queue.pop()) queue.complete(chain, 1);
      memory.writeU16(Number(layout.driver) + 2, more);
    }
    queue.publishDone();
    expect(memory.readU16(Number(layout.device) + 2)).toBe(8);
    expect(memory.read(Number(layout.device) + 4, 8)).toEqual(Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0));
  });

  it("2.7.9: in order, what was popped later waits for what was popped first", () => {
    const { add, queue, rings, memory } = setUp({ inOrder: true });
    add(part(8, true));
    add(part(8, true));
    const [first, second] = [queue.pop()!, queue.pop()!];
    queue.push(second, 2);
    expect([rings.take(), queue.needsNotification(), queue.inFlight]).toEqual([null, false, 2]);
    expect(() => queue.push(second, 2)).toThrow("pushed already");
    const again = createQueue({ index: 0, memory, features: bits(features({ inOrder: true })) });
    again.load(queue.save());
    again.push(again.restoreChain(first.save()), 1);
    expect([rings.take(), rings.take()]).toEqual([
      { id: 0, length: 1 },
      { id: 1, length: 2 },
    ]);
    expect(again.needsNotification()).toBe(true);
  });

  it("knows a buffer that was pushed from one that came with its number later", () => {
    const { add, queue, rings } = setUp();
    add(part(8, true));
    const first = queue.pop()!;
    queue.push(first, 1);
    rings.take();
    add(part(8, true));
    const second = queue.pop()!;
    expect(second.id).toBe(first.id);
    expect(() => queue.push(first, 1)).toThrow("pushed already");
    expect(() => queue.unpop(first)).toThrow("not the one popped last");
    queue.push(second, 2);
    expect(rings.take()).toEqual({ id: second.id, length: 2 });
  });

  it("gives back what was popped last", () => {
    const { add, queue } = setUp();
    add(part(1));
    add(part(2));
    const [first, second] = [queue.pop()!, queue.pop()!];
    expect(() => queue.unpop(first)).toThrow("not the one popped last");
    queue.unpop(second);
    queue.unpop(first);
    expect([queue.inFlight, queue.pop()?.readableLength, queue.pop()?.readableLength]).toEqual([0, 1, 2]);
  });

  it("2.4: a reset forgets what is in flight, but marks what was written to it", () => {
    const { add, queue, rings, block, layout } = setUp();
    add(part(8, true));
    const chain = queue.pop()!;
    chain.writableSlices()[0]?.fill(1);
    queue.reset();
    expect([queue.ready, queue.size, queue.inFlight, queue.pop()]).toEqual([false, 0, 0, null]);
    queue.configure(layout);
    expect(dirty(block, () => queue.push(chain, 8))).toEqual([{ offset: 0x8000, length: 4096 }]);
    expect([rings.take(), queue.needsNotification()]).toEqual([null, false]);
    queue.unpop(chain);
  });
});
