import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { SharedRing } from "./shared-ring.js";

const ring = (capacity: number, buffer = new SharedArrayBuffer(SharedRing.size(capacity))) =>
  new SharedRing(buffer, 0, capacity);

describe("a shared ring", () => {
  it("behaves like a bounded queue whatever is done to it, also where its positions wrap", () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("push" as const), count: fc.integer({ min: 1, max: 12 }) }),
      fc.record({ do: fc.constant("shift" as const), count: fc.integer({ min: 1, max: 12 }) }),
      fc.record({ do: fc.constant("consume" as const), count: fc.integer({ min: 1, max: 12 }) }),
    );
    const start = fc.constantFrom(0, 5, 0x7fff_fffa, 0xffff_fff5);
    fc.assert(
      fc.property(start, fc.array(step, { maxLength: 60 }), (start, steps) => {
        const buffer = new SharedArrayBuffer(SharedRing.size(8));
        new Int32Array(buffer).fill(start | 0, 0, 2);
        const tested = ring(8, buffer);
        const model: number[] = [];
        let next = 0;
        let dropped = 0;
        for (const { do: action, count } of steps) {
          for (let i = 0; i < count && action === "push"; i++) {
            const byte = next++ & 0xff;
            if (model.length < 8) model.push(byte);
            else dropped++;
            expect(tested.push(byte)).toBe(model.at(-1) === byte);
          }
          for (let i = 0; i < count && action === "shift"; i++) expect(tested.shift()).toBe(model.shift() ?? -1);
          if (action === "consume") {
            const taken = tested.peek(count);
            expect([...taken]).toEqual(model.splice(0, count));
            tested.consume(taken.length);
          }
          expect([tested.length, tested.dropped]).toEqual([model.length, dropped]);
          expect([...tested.peek()]).toEqual(model);
        }
      }),
    );
  });
});
