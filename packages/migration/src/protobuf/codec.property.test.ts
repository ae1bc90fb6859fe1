import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { rounds } from "../../../../test/rounds.js";
import { FIELD_CASES } from "../../test/field-cases.js";
import { decodeOrRefuse } from "../../test/hostile.js";
import { protobufCodec } from "./codec.js";
import { protobufType } from "./type.js";

const numRuns = rounds({ quick: 40, full: 4000 });

describe.each(FIELD_CASES)("protobuf of $name", ({ descriptor, states, local }) => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(states, (state) => {
        const bytes = protobufCodec.encode(descriptor, state);
        const back = protobufCodec.decode(descriptor, bytes, { local: local(state) });
        expect(back).toEqual(state);
        expect(protobufCodec.encode(descriptor, back)).toEqual(bytes);
      }),
      { numRuns },
    );
  });

  it("is what protobufjs itself reads and writes by its description", () => {
    const type = protobufType(descriptor);
    fc.assert(
      fc.property(states, (state) => {
        const bytes = protobufCodec.encode(descriptor, state);
        const message = type.decode(bytes);
        const again = type.encode(message).finish();
        expect(protobufCodec.decode(descriptor, again, { local: local(state) })).toEqual(state);
        expect(again.length).toBe(bytes.length);
      }),
      { numRuns },
    );
  });

  it("is refused when it is cut anywhere", () => {
    fc.assert(
      fc.property(states, (state) => {
        const bytes = protobufCodec.encode(descriptor, state);
        for (let length = 0; length < bytes.length; length++) {
          const load = () => protobufCodec.decode(descriptor, bytes.subarray(0, length), { local: local(state) });
          expect(decodeOrRefuse(load)).toBeUndefined();
        }
      }),
      { numRuns },
    );
  });

  it("is read or refused with any bit flipped", () => {
    fc.assert(
      fc.property(states, fc.nat(), (state, pick) => {
        const bytes = protobufCodec.encode(descriptor, state);
        const bit = pick % (bytes.length * 8);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        const back = decodeOrRefuse(() => protobufCodec.decode(descriptor, bytes, { local: local(state) }));
        if (!back) return;
        const again = protobufCodec.encode(descriptor, back);
        expect(protobufCodec.decode(descriptor, again, { local: back })).toEqual(back);
      }),
      { numRuns: numRuns * 10 },
    );
  });

  it("is read or refused whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        decodeOrRefuse(() => protobufCodec.decode(descriptor, bytes, { local: {} }));
      }),
      { numRuns: numRuns * 5 },
    );
  });
});
