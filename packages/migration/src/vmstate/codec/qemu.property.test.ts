import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { rounds } from "../../../../../test/rounds.js";
import { FIELD_CASES } from "../../../test/field-cases.js";
import { decodeOrRefuse } from "../../../test/hostile.js";
import { qemuCodec } from "./qemu.js";

const numRuns = rounds({ quick: 40, full: 4000 });

const SUBSECTION_NAMES = /item\/note|deep\//;

/** Items in a state, as a measure of the memory that it takes. */
function sizeOf(value: unknown): number {
  if (ArrayBuffer.isView(value)) return 1 + value.byteLength;
  if (typeof value === "string") return 1 + value.length;
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce((sum: number, inner) => sum + sizeOf(inner), 1);
}

describe.each(FIELD_CASES)("QEMU's encoding of $name", ({ descriptor, states, local }) => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(states, (state) => {
        const bytes = qemuCodec.encode(descriptor, state);
        const back = qemuCodec.decode(descriptor, bytes, { local: local(state) });
        expect(back).toEqual(state);
        expect(qemuCodec.encode(descriptor, back)).toEqual(bytes);
      }),
      { numRuns },
    );
  });

  it("is refused when cut at any byte, but for what reads as a state without a subsection", () => {
    fc.assert(
      fc.property(states, (state) => {
        const bytes = qemuCodec.encode(descriptor, state);
        for (let end = 0; end < bytes.length; end++) {
          const cut = bytes.subarray(0, end);
          const back = decodeOrRefuse(() => qemuCodec.decode(descriptor, cut, { local: local(state) }));
          if (back) {
            // Nothing in the encoding tells these: a section's footer does.
            expect(SUBSECTION_NAMES.test(new TextDecoder("latin1").decode(bytes))).toBe(true);
            expect(qemuCodec.encode(descriptor, back)).toEqual(cut);
          }
        }
      }),
      { numRuns },
    );
  });

  it("is refused with bytes after it", () => {
    fc.assert(
      fc.property(states, fc.nat(255), (state, byte) => {
        const bytes = Uint8Array.of(...qemuCodec.encode(descriptor, state), byte);
        const load = () => qemuCodec.decode(descriptor, bytes, { local: local(state) });
        expect(load).toThrow(expect.objectContaining({ code: "VMSTATE_TRAILING" }));
      }),
      { numRuns },
    );
  });

  it("is read or refused with flipped bits, and read as no more than its bytes can hold", () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(states, flips, (state, changes) => {
        const bytes = qemuCodec.encode(descriptor, state);
        for (const [at, mask] of changes) if (bytes.length > 0) bytes[at % bytes.length]! ^= mask;
        const back = decodeOrRefuse(() => qemuCodec.decode(descriptor, bytes, { local: local(state) }));
        if (back) expect(sizeOf(back)).toBeLessThan(100 + 8 * bytes.length);
      }),
      { numRuns: numRuns * 5 },
    );
  });

  it("is read or refused whatever the bytes and the version", () => {
    const version = fc.oneof(fc.constant(descriptor.version), fc.nat(9), fc.nat(0xffff_ffff));
    fc.assert(
      fc.property(states, fc.uint8Array({ maxLength: 60 }), version, (state, bytes, incoming) => {
        const options = { version: incoming, local: local(state) };
        const back = decodeOrRefuse(() => qemuCodec.decode(descriptor, bytes, options));
        if (back) expect(sizeOf(back)).toBeLessThan(100 + 8 * bytes.length);
        if (incoming < descriptor.minimumVersion || incoming > descriptor.version) expect(back).toBeUndefined();
      }),
      { numRuns: numRuns * 5 },
    );
  });
});
