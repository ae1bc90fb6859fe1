import { ftruncate, memfdCreate, pwrite } from "@baton/linux";
import { GuestMemory, RamBlock } from "@baton/memory";
import { describe, expect, it } from "@jest/globals";
import { Driver } from "../../test/support/driver.js";
import { BASE, bits, features, ram } from "../../test/support/world.js";
import { createQueue } from "./create.js";
import type { QueueState } from "./queue.js";

const buffer = { gpa: BASE + 0x8000, length: 8, writable: true };

describe.each([false, true])("state of a queue, packed: %s", (packed) => {
  function setUp() {
    const { memory } = ram();
    const on = features({ packed });
    const driver = new Driver(memory, on, BASE, 4, BASE + 0x2000);
    const make = () => createQueue({ index: 2, memory, features: bits(on) });
    const queue = make();
    queue.configure(driver.rings.layout);
    driver.add([buffer]);
    driver.add([buffer, buffer]);
    driver.rings.publish();
    return { queue, make, held: queue.pop()!, driver };
  }

  it("is plain, and a queue that loads it goes on", () => {
    const { queue, make, held, driver } = setUp();
    const state = structuredClone(queue.save());
    expect(state).toMatchObject({ kind: packed ? "packed" : "split", ready: true, lastAvail: 1, lastUsed: 0 });
    expect(state.inFlight).toEqual([{ id: 0, descriptors: 1, written: null }]);
    const next = make();
    next.load(state);
    expect(next.save()).toEqual(state);
    next.load(state);
    next.push(next.restoreChain(structuredClone(held.save())), 3);
    expect(driver.rings.take()).toEqual({ id: 0, length: 3 });
    expect(next.needsNotification()).toBe(true);
    expect(next.pop()).toMatchObject({ descriptors: 2, writableLength: 16 });
    // A chain of before the load is none of its own.
    next.push(held, 8);
    expect(next.inFlight).toBe(1);
  });

  it("of a queue that is not configured, or broken, is kept", () => {
    const { make, queue } = setUp();
    const fresh = make();
    fresh.load(make().save());
    expect([fresh.ready, fresh.size]).toEqual([false, 0]);
    fresh.load({ ...queue.save(), broken: true });
    expect([fresh.broken, fresh.ready, fresh.pop(), fresh.save().broken]).toEqual([true, false, null, true]);
  });

  it("is refused by the field's name, and nothing of it is taken", () => {
    const { queue, make } = setUp();
    const state = queue.save();
    const entry = state.inFlight[0]!;
    const bad: [string, Record<string, unknown>][] = [
      ["ready", { ready: 1 }],
      ["broken", { broken: undefined }],
      ["size", { size: 65536 }],
      ["size", { size: "4" }],
      ["desc", { desc: 5 }],
      ["layout", { desc: 5n }],
      ["layout", { size: packed ? 32768 : 3, desc: BigInt(BASE + 0xffff0) }],
      ["unsignalled", { unsignalled: -1 }],
      ["inFlight", { inFlight: 7 }],
      ["inFlight", { inFlight: [entry, entry] }],
      ["inFlight", { inFlight: [{ ...entry, written: 3 }] }],
      ["inFlight[0]", { inFlight: [null] }],
      ["inFlight[0]/id", { inFlight: [{ ...entry, id: 70000 }] }],
      ["inFlight[0]/descriptors", { inFlight: [{ ...entry, descriptors: 5 }] }],
      ["inFlight[0]/written", { inFlight: [{ ...entry, written: -1 }] }],
      ["lastAvail", { lastAvail: 65536 }],
      ["lastUsed", { lastUsed: 3 }],
      ["lastUsed", { lastUsed: Number.NaN }],
      ["lastUsed", { inFlight: [] }],
      ["kind", { kind: packed ? "split" : "packed" }],
      ...(packed ? [["usedWrap", { usedWrap: 1 }] as [string, Record<string, unknown>]] : []),
    ];
    const next = make();
    for (const [field, change] of bad) {
      const error = { code: "VIRTQUEUE_STATE", details: { queue: 2, field } };
      expect(() => next.load({ ...state, ...change } as QueueState)).toThrow(expect.objectContaining(error));
      expect([next.ready, next.broken, next.size, next.inFlight]).toEqual([false, false, 0, 0]);
    }
  });

  it("of a chain is checked as the driver's own", () => {
    const { queue, make, held } = setUp();
    const chain = held.save();
    const next = make();
    next.load(queue.save());
    for (const bad of [
      { id: 9 },
      { descriptors: 2 },
      { position: -1 },
      { writable: [] },
      { writable: [{ gpa: 0n, length: 8 }] },
      { writable: [{ gpa: 2n ** 80n, length: 8 }] },
      { writable: [{ gpa: -1n, length: 8 }] },
      { writable: [{ gpa: BigInt(BASE), length: 0 }] },
      { readable: 5 as unknown as [] },
      { writable: [null] as unknown as [] },
      { readable: [{ gpa: BASE as unknown as bigint, length: 1 }] },
    ]) {
      expect(() => next.restoreChain({ ...chain, ...bad })).toThrow(
        expect.objectContaining({ code: "VIRTQUEUE_STATE" }),
      );
    }
    expect(next.restoreChain(chain)).toMatchObject({ id: 0, writableLength: 8 });
  });

  it("in order, cannot begin with what is used already", () => {
    const { memory } = ram();
    const on = bits(features({ packed, inOrder: true }));
    const driver = new Driver(memory, features({ packed, inOrder: true }), BASE, 4, BASE + 0x2000);
    const queue = createQueue({ index: 2, memory, features: on });
    queue.configure(driver.rings.layout);
    driver.add([buffer]);
    driver.add([buffer]);
    driver.rings.publish();
    const [first, second] = [queue.pop()!, queue.pop()!];
    queue.push(second, 1);
    const state = queue.save();
    expect(state.inFlight.map(({ written }) => written)).toEqual([null, 1]);
    const next = createQueue({ index: 2, memory, features: on });
    expect(() => next.load({ ...state, inFlight: [...state.inFlight].reverse() })).toThrow("begins with a used one");
    next.load(state);
    expect(() => next.restoreChain(second.save())).toThrow("does not have the chain 1");
    next.push(next.restoreChain(first.save()), 0);
    expect([driver.rings.take()?.id, driver.rings.take()?.id]).toEqual([first.id, second.id]);
  });

  it("breaks, and loses nothing, when its rings are no RAM any more", () => {
    const blocks = ["low", "high"].map((id) => RamBlock.create({ id, size: 0x10000n }));
    const [low, high] = blocks as [RamBlock, RamBlock];
    const owner = GuestMemory.create([
      { gpa: BigInt(BASE), block: low },
      { gpa: BigInt(BASE + 0x10_0000), block: high },
    ]);
    const less = GuestMemory.create([{ gpa: BigInt(BASE + 0x10_0000), block: high }]);
    const memory = GuestMemory.attach(owner.describe());
    const on = features({ packed });
    const driver = new Driver(owner, on, BASE, 4, BASE + 0x2000);
    const queue = createQueue({ index: 2, memory, features: bits(on) });
    queue.configure(driver.rings.layout);
    driver.add([{ gpa: BASE + 0x10_0000, length: 8, writable: true }]);
    driver.rings.publish();
    const chain = queue.pop()!;
    memory.refresh(less.describe());
    queue.refresh();
    expect(() => queue.push(chain, 1)).toThrow(expect.objectContaining({ code: "VIRTQUEUE_BROKEN" }));
    expect([queue.broken, queue.inFlight]).toEqual([true, 1]);
    queue.push(chain, 1);
    for (const one of [owner, less]) one.close();
    for (const block of blocks) block.close();
  });

  it("survives a rebase of RAM, after a refresh", () => {
    const size = 0x10_0000;
    const block = RamBlock.create({ id: "ram", size: BigInt(size) });
    const memory = GuestMemory.create([{ gpa: BigInt(BASE), block }]);
    const on = features({ packed });
    const driver = new Driver(memory, on, BASE, 4, BASE + 0x2000);
    const queue = createQueue({ index: 0, memory, features: bits(on) });
    queue.configure(driver.rings.layout);
    driver.add([buffer]);
    driver.rings.publish();
    const chain = queue.pop()!;
    const fd = memfdCreate("moved");
    ftruncate(fd, size);
    pwrite(fd, memory.read(BASE, size), 0);
    block.rebase({ fd });
    queue.refresh();
    chain.write(Uint8Array.of(42));
    queue.push(chain, 1);
    const { device, desc } = driver.rings.layout;
    expect(packed ? memory.readU32(desc + 8n) : memory.readU16(device + 2n)).toBe(1);
    expect(memory.readU8(buffer.gpa)).toBe(42);
    memory.close();
    block.close();
  });
});
