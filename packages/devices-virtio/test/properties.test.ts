import { liveFds } from "@baton/linux";
import { afterAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { features, ram, rounds, World } from "./support/world.js";

const lengths = (max: number) => fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: max });
const shape = fc.record({ readable: lengths(4), writable: lengths(4), indirect: fc.boolean() });

/** What may happen next. */
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("submit" as const), shapes: fc.array(shape, { maxLength: 4 }) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("pop" as const), count: fc.integer({ min: 1, max: 6 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("push" as const), picks: fc.array(fc.nat(99), { maxLength: 5 }) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("reap" as const), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("unpop" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("refresh" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("save" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function run(world: World, one: Step): void {
  switch (one.kind) {
    case "submit":
      return world.submit(one.shapes);
    case "pop":
      return world.pop(one.count);
    case "push":
      return world.push(one.picks);
    case "reap":
      return world.reap(one.count);
    case "unpop":
      return world.unpop();
    case "refresh":
      return world.queue.refresh();
    case "save":
      return world.saveLoad();
  }
}

const modes = fc.record({ indirect: fc.boolean(), eventIndex: fc.boolean(), inOrder: fc.boolean() });

describe.each([false, true])("packed: %s", (packed) => {
  const memory = ram();
  const total = { done: 0, kicks: 0, quietAdds: 0, interrupts: 0, quietPushes: 0 };
  afterAll(() => {
    expect(Math.min(...Object.values(total))).toBeGreaterThan(100);
    memory[Symbol.dispose]();
    expect(liveFds()).toEqual([]);
  });

  it("completes each buffer once, with its length, and loses no notification", () => {
    fc.assert(
      fc.property(
        modes,
        packed ? fc.integer({ min: 1, max: 9 }) : fc.constantFrom(1, 2, 4, 8, 16),
        fc.array(step, { minLength: 10, maxLength: 150 }),
        (mode, size, steps) => {
          const world = new World(memory.memory, features({ packed, ...mode }), size);
          for (const one of steps) run(world, one);
          world.settle();
          for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += world.counts[key];
        },
      ),
      { numRuns: rounds(300) },
    );
  });

  it.each([false, true])("goes round its indices many times; event index: %s", (eventIndex) => {
    const world = new World(memory.memory, features({ packed, eventIndex }), 4);
    for (let i = 0; i < 70_000; i++) {
      world.submit([{ readable: [1], writable: [1 + (i % 3)], indirect: false }]);
      if (i % 5 !== 0) world.pop(2);
      if (i % 3 !== 0) world.push([i, i + 1]);
      if (i % 7 !== 0) world.reap(3);
    }
    world.settle();
    expect(world.counts.done).toBeGreaterThan(65_536);
  });
});
