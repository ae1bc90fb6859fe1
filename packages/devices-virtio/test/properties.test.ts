import { liveFds } from "@baton/linux";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { rounds } from "../../../test/rounds.js";
import { features, ram, World } from "./support/world.js";

const RUNS = rounds({ quick: 200, full: 20_000 });

const lengths = (max: number) => fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: max });
const shape = fc.record({ readable: lengths(4), writable: lengths(4), indirect: fc.boolean() });

/** What may happen next. */
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("submit" as const),
      shapes: fc.array(shape, { minLength: 1, maxLength: 4 }),
    }),
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
  if (one.kind === "submit") world.submit(one.shapes);
  else if (one.kind === "pop") world.pop(one.count);
  else if (one.kind === "push") world.push(one.picks);
  else if (one.kind === "reap") world.reap(one.count);
  else if (one.kind === "unpop") world.unpop();
  else if (one.kind === "refresh") world.queue.refresh();
  else world.saveLoad();
}

const modes = fc.record({ indirect: fc.boolean(), eventIndex: fc.boolean(), inOrder: fc.boolean() });

describe.each([false, true])("packed: %s", (packed) => {
  let memory: ReturnType<typeof ram>;
  beforeAll(() => {
    memory = ram();
  });
  const total = { done: 0, kicks: 0, quietAdds: 0, interrupts: 0, quietPushes: 0 };
  afterAll(() => {
    expect(Math.min(...Object.values(total))).toBeGreaterThanOrEqual(Math.floor(RUNS / 4));
    memory[Symbol.dispose]();
    expect(liveFds()).toEqual([]);
  });

  it("completes each buffer once, with its length, and loses no notification", () => {
    fc.assert(
      fc.property(
        modes,
        packed ? fc.integer({ min: 1, max: 9 }) : fc.constantFrom(1, 2, 4, 8, 16),
        fc.constantFrom(0, 0x7ff0, 0xfff0),
        fc.array(step, { maxLength: 150, size: "max" }),
        (mode, size, start, steps) => {
          const world = new World(memory.memory, features({ packed, ...mode }), size, start);
          for (const one of steps) run(world, one);
          world.settle();
          for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += world.counts[key];
        },
      ),
      { numRuns: RUNS },
    );
  });

  it.each([false, true])("goes round its indices; event index: %s", (eventIndex) => {
    const world = new World(memory.memory, features({ packed, eventIndex }), 4, 65_000);
    const many = 1000;
    for (let i = 0; world.counts.done < many; i++) {
      if (i > many * 100) throw new Error(`stuck after ${world.counts.done}`);
      world.submit([{ readable: [1], writable: [1 + (i % 3)], indirect: false }]);
      if (i % 5 !== 0) world.pop(2);
      if (i % 3 !== 0) world.push([i, i + 1]);
      if (i % 7 !== 0) world.reap(3);
    }
    world.settle();
    expect(world.counts.quietAdds + world.counts.quietPushes).toBeGreaterThan(many / 100);
  });
});
