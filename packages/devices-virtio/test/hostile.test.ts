import { BatonError } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { rounds } from "../../../test/rounds.js";
import { type Chain, createQueue, type QueueFeatures, type QueueLayout, type VirtQueue } from "../src/index.js";
import { areas, Driver } from "./support/driver.js";
import { BASE, bits, features, RAM, ram } from "./support/world.js";

const RUNS = rounds({ quick: 200, full: 20_000 });
const TABLES = BASE + 0x1000;
const END = BASE + RAM;

/** Addresses and lengths at every boundary. */
const low = fc.constantFrom(0, 1, BASE - 1, BASE, BASE + 8, TABLES, TABLES + 1, END - 16, END - 1, END, 0xffff_fff0);
const high = fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, fc.constantFrom(1, 0xf_ffff, 0x10_0000, 0xffff_ffff));
const length = fc.constantFrom(0, 1, 15, 16, 17, 32, 0x100, RAM - 1, RAM, RAM + 1, 0xffff_fff0, 0xffff_ffff);
const flags = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, 0x80, 0x81, 0x84, 0x8000, 0x8001, 0x8004),
  fc.nat(0xffff),
);
const small = fc.oneof({ weight: 5, arbitrary: fc.nat(9) }, { weight: 1, arbitrary: fc.nat(0xffff) });

/** What a guest may do to its queue. */
const attack = fc.oneof(
  // A whole descriptor, in the ring or in a table; of either layout.
  fc.tuple(fc.constant("desc" as const), fc.nat(40), low, high, length, flags, small),
  // A field of 16 bits anywhere in the areas: indices, ring entries, suppression.
  fc.tuple(fc.constant("field" as const), fc.nat(0x200), small),
  fc.tuple(fc.constant("index" as const), fc.nat(5), small),
  fc.tuple(fc.constant("valid" as const), fc.integer({ min: 1, max: 4 }), fc.boolean()),
  fc.tuple(fc.constant("noise" as const), fc.nat(0x200), fc.uint8Array({ minLength: 1, maxLength: 64 })),
  fc.tuple(fc.constant("pop" as const), fc.nat(5)),
  fc.tuple(fc.constant("push" as const), fc.nat(99)),
  fc.tuple(fc.constant("unpop" as const), fc.nat(99)),
  fc.tuple(fc.constant("reset" as const), fc.nat(99)),
  fc.tuple(fc.constant("save" as const), fc.nat(99)),
  fc.tuple(fc.constant("layout" as const), low, low, low, fc.constantFrom(0, 1, 3, 4, 8, 32768, 32769, 65536)),
);
type Attack = typeof attack extends fc.Arbitrary<infer T> ? T : never;

/** A device that serves whatever comes, beside a guest that writes what it likes. */
class Victim {
  queue: VirtQueue;
  held: Chain[] = [];
  faults = 0;
  pops = 0;
  readonly #memory: GuestMemory;
  readonly #features: QueueFeatures;
  readonly #layout: QueueLayout;
  #driver: Driver;
  #index = 0;

  constructor(memory: GuestMemory, on: QueueFeatures, size: number) {
    this.#memory = memory;
    this.#features = on;
    this.#layout = areas(BASE, size);
    this.#driver = new Driver(memory, on, BASE, size, TABLES);
    this.queue = createQueue({ index: 0, memory, features: bits(on) });
    this.queue.configure(this.#layout);
  }

  /** Runs what a device does; only the one error may come of it, and then the queue is broken. */
  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!BatonError.is(error, "VIRTQUEUE_BROKEN")) throw error;
      this.faults++;
      expect(this.queue.broken).toBe(true);
      expect(this.queue.pop()).toBeNull();
    }
  }

  #reset(layout: QueueLayout): void {
    this.queue.reset();
    this.#index = 0;
    this.#driver = new Driver(this.#memory, this.#features, BASE, this.#layout.size, TABLES);
    this.#guarded(() => this.queue.configure(layout));
  }

  step(one: Attack): void {
    const { size, driver } = this.#layout;
    switch (one[0]) {
      case "desc": {
        const [, place, low, high, length, flags, next] = one;
        const at = place < 24 ? BASE + (place % size) * 16 : TABLES + (place - 24) * 16;
        const word = this.#features.packed ? next | (flags << 16) : flags | (next << 16);
        for (const [i, value] of [low, high, length, word].entries()) this.#memory.writeU32(at + 4 * i, value);
        return;
      }
      case "field":
        this.#memory.writeU16(BASE + one[1] * 2, one[2]);
        return;
      case "index":
        this.#index += one[1];
        this.#memory.writeU16(driver + 2n, this.#index);
        return;
      case "valid": {
        // From a driver that goes on as if nothing had happened.
        const part = { gpa: BASE + 0x2000, length: 8 };
        const parts = Array.from({ length: one[1] }, (_, i) => ({ ...part, writable: i >= 2 }));
        this.#driver.add(parts, one[2] ? 0 : undefined);
        this.#driver.rings.publish();
        return;
      }
      case "noise":
        this.#memory.write(BASE + one[1], one[2]);
        return;
      case "pop":
        this.#guarded(() => this.#pop(one[1]));
        return;
      case "push":
        this.#guarded(() => this.#push(one[1]));
        return;
      case "unpop": {
        const chain = this.held.pop();
        try {
          if (chain) this.queue.unpop(chain);
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
          if (chain) this.held.push(chain);
        }
        return;
      }
      case "reset":
        // Chains of before stay with the device, which pushes some of them later.
        this.#reset(this.#layout);
        return;
      case "layout": {
        const [, desc, driver, device, size] = one;
        this.#reset({ size, desc: BigInt(desc), driver: BigInt(driver), device: BigInt(device) });
        this.#guarded(() => this.#pop(2));
        this.#reset(this.#layout);
        return;
      }
      case "save":
        this.#save();
        return;
    }
  }

  #pop(count: number): void {
    this.queue.setNotification(false);
    for (let i = 0; i <= count; i++) {
      const chain = this.queue.pop();
      if (!chain) break;
      this.pops++;
      this.#check(chain);
      this.held.push(chain);
    }
    this.queue.setNotification(true);
    expect(this.queue.inFlight).toBeLessThanOrEqual(Math.max(this.queue.size, 0));
  }

  #check(chain: Chain): void {
    const pieces = [...chain.readable, ...chain.writable];
    expect(pieces.length).toBeGreaterThan(0);
    expect(pieces.length).toBeLessThanOrEqual(1024 + this.queue.size);
    expect(pieces.every(({ gpa, length }) => length > 0 && gpa >= BASE && gpa + length <= END)).toBe(true);
    expect(chain.descriptors).toBeLessThanOrEqual(this.queue.size);
    const bytes = new Uint8Array(Math.min(chain.readableLength, 64));
    expect(chain.read(bytes)).toBe(bytes.length);
  }

  #push(pick: number): void {
    if (this.held.length === 0) return;
    const [chain] = this.held.splice(pick % this.held.length, 1) as [Chain];
    const written = Math.min(chain.writableLength, pick);
    if (pick % 2 === 0) chain.write(new Uint8Array(written).fill(pick));
    else for (const slice of chain.writableSlices(0, written)) slice.fill(pick);
    this.queue.push(chain, written);
    this.queue.needsNotification();
  }

  #save(): void {
    const state = structuredClone(this.queue.save());
    const next = createQueue({ index: 0, memory: this.#memory, features: bits(this.#features) });
    next.load(state);
    expect(next.save()).toEqual(state);
    const own = this.held.filter((chain) =>
      state.inFlight.some(({ id, written }) => id === chain.id && written === null),
    );
    const current = own.filter((chain) => chain.owner === this.#owner(own));
    this.held = current.length === state.inFlight.length ? current.map((chain) => next.restoreChain(chain.save())) : [];
    this.queue = next;
  }

  #owner(chains: Chain[]): object | undefined {
    return chains[chains.length - 1]?.owner;
  }
}

describe.each([false, true])("a hostile guest, packed: %s", (packed) => {
  it("breaks its queue and nothing else", () => {
    using memory = ram();
    let faults = 0;
    let pops = 0;
    fc.assert(
      fc.property(
        fc.record({ indirect: fc.boolean(), eventIndex: fc.boolean(), inOrder: fc.boolean() }),
        fc.array(attack, { maxLength: 120, size: "max" }),
        (mode, attacks) => {
          const victim = new Victim(memory.memory, features({ packed, ...mode }), 8);
          for (const one of attacks) {
            victim.step(one);
            if (victim.queue.broken && one[0] === "pop") victim.step(["reset", 0]);
          }
          faults += victim.faults;
          pops += victim.pops;
        },
      ),
      { numRuns: RUNS },
    );
    const enough = Math.floor(RUNS / 4);
    expect(Math.min(faults, pops)).toBeGreaterThanOrEqual(enough);
  });

  it("is served in bounded time, whatever it loops", () => {
    using memory = ram();
    const { memory: guest } = memory;
    const on = features({ packed, indirect: true });
    const layout = {
      size: 32768,
      desc: BigInt(BASE),
      driver: BigInt(BASE + 0x8_0000),
      device: BigInt(BASE + 0xa_0000),
    };
    const queue = createQueue({ index: 0, memory: guest, features: bits(on) });
    // Every descriptor goes on to the next, and the last to the first.
    for (let i = 0; i < 32768; i++) {
      const at = BASE + i * 16;
      guest.writeU32(at, BASE);
      guest.writeU32(at + 8, 1);
      guest.writeU32(at + 12, packed ? i | (0x81 << 16) : 1 | (((i + 1) % 32768) << 16));
    }
    guest.writeU16(BASE + 0x8_0002, 1);
    queue.configure(layout);
    const start = performance.now();
    expect(() => queue.pop()).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ reason: "descriptor-loop" }) }),
    );
    expect(performance.now() - start).toBeLessThan(1000);
  });
});
