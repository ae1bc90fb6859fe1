import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { rounds } from "../../../../../test/rounds.js";
import { FIELD_CASES } from "../../../test/field-cases.js";
import { decodeOrRefuse } from "../../../test/hostile.js";
import { jsonCodec } from "./json.js";
import type { JsonValue } from "./json-format.js";

const numRuns = rounds({ quick: 40, full: 4000 });

/** Every place in a tree: the container and the key in it. */
function* placesIn(tree: unknown): Generator<{ parent: Record<string, unknown>; key: string }> {
  if (typeof tree !== "object" || tree === null) return;
  for (const key of Object.keys(tree)) {
    const parent = tree as Record<string, unknown>;
    yield { parent, key };
    yield* placesIn(parent[key]);
  }
}

const copy = (value: JsonValue) => JSON.parse(JSON.stringify(value)) as JsonValue;

describe.each(FIELD_CASES)("JSON of $name", ({ descriptor, states, local }) => {
  it("comes back as it was, through text", () => {
    fc.assert(
      fc.property(states, (state) => {
        const json = jsonCodec.encode(descriptor, state);
        const back = jsonCodec.decode(descriptor, copy(json), { local: local(state) });
        expect(back).toEqual(state);
        expect(jsonCodec.encode(descriptor, back)).toEqual(json);
      }),
      { numRuns },
    );
  });

  it("is refused when any member or element is missing, but for subsections", () => {
    fc.assert(
      fc.property(states, (state) => {
        const json = jsonCodec.encode(descriptor, state);
        const count = [...placesIn(json)].length;
        for (let i = 0; i < count; i++) {
          const cut = copy(json);
          const { parent, key } = [...placesIn(cut)][i]!;
          if (Array.isArray(parent)) parent.splice(Number(key), 1);
          else delete parent[key];
          const back = decodeOrRefuse(() => jsonCodec.decode(descriptor, cut, { local: local(state) }));
          // Lists and trees are as long as they are.
          if (back && !Array.isArray(parent)) expect(key).toMatch(/^\$subsections$|\//);
          if (back)
            expect(jsonCodec.decode(descriptor, copy(jsonCodec.encode(descriptor, back)), { local: back })).toEqual(
              back,
            );
        }
      }),
      { numRuns },
    );
  });

  it("is refused with a member more", () => {
    fc.assert(
      fc.property(states, fc.nat(), fc.constantFrom("more", "__proto__", "$version", "$x"), (state, pick, name) => {
        const json = copy(jsonCodec.encode(descriptor, state));
        const structs = [{ object: json }, ...[...placesIn(json)].map(({ parent, key }) => ({ object: parent[key] }))]
          .map(({ object }) => object)
          .filter((object) => typeof object === "object" && object !== null && !Array.isArray(object));
        const struct = structs[pick % structs.length] as object;
        if (Object.hasOwn(struct, name)) return;
        Object.defineProperty(struct, name, { value: 1, enumerable: true });
        const load = () => jsonCodec.decode(descriptor, json, { local: local(state) });
        expect(decodeOrRefuse(load)).toBeUndefined();
      }),
      { numRuns },
    );
  });

  it("is read or refused with any value anywhere", () => {
    const wrong = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<JsonValue>,
      fc.constantFrom<JsonValue>("-0", "00", -0, 1e300),
    );
    fc.assert(
      fc.property(states, fc.nat(), wrong, (state, pick, value) => {
        const json = copy(jsonCodec.encode(descriptor, state));
        const places = [...placesIn(json)];
        const { parent, key } = places[pick % places.length]!;
        parent[key] = value;
        const back = decodeOrRefuse(() => jsonCodec.decode(descriptor, json, { local: local(state) }));
        if (back) expect(jsonCodec.encode(descriptor, back)).toBeDefined();
        expect(decodeOrRefuse(() => jsonCodec.decode(descriptor, value, { local: local(state) }))).toBeUndefined();
      }),
      { numRuns: numRuns * 5 },
    );
  });
});
