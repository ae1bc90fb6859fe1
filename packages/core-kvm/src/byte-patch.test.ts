import { expect, it } from "@jest/globals";
import fc from "fast-check";
import { applyPatches, patchesBetween } from "./byte-patch.js";

it("patches make the one of the other, and are few where little differs", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 0, maxLength: 400 }),
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 40 }),
      (expected, changes) => {
        const actual = expected.slice();
        for (const [at, value] of changes) if (at < actual.length) actual[at] = value;
        const patches = patchesBetween(expected, actual);
        expect(applyPatches("it", expected.slice(), patches)).toEqual(actual);
        expect(patches.length).toBeLessThanOrEqual(changes.length);
      },
    ),
  );
});

it("a run longer than a patch can be is cut", () => {
  const actual = new Uint8Array(200_000).fill(1);
  const patches = patchesBetween(new Uint8Array(200_000), actual);
  expect(patches.every(({ length }) => length <= 0xffff)).toBe(true);
  expect(applyPatches("it", new Uint8Array(200_000), patches)).toEqual(actual);
});

it("a patch that is not within is refused", () => {
  const patches = [{ at: 3, length: 2, bytes: Uint8Array.of(1, 2) }];
  expect(() => applyPatches("the PIT", new Uint8Array(4), patches)).toThrow(
    expect.objectContaining({ code: "STATE_INVALID", message: expect.stringContaining("the PIT") }),
  );
});
