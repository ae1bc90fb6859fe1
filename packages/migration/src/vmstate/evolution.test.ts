import { describe, expect, it } from "@jest/globals";
import { protobufCodec } from "../protobuf/index.js";
import {
  array,
  type Codec,
  jsonCodec,
  qemuCodec,
  schemaBreaks,
  since,
  struct,
  u8,
  u16,
  u32,
  unused,
  type Vmstate,
  type VmstateDescriptor,
  vmstate,
  vmstateSchema,
} from "./index.js";

/** A device as it was, and as it is after a change. */
const was = vmstate({ name: "timer", version: 1, fields: { mode: u8, period: u16, counts: array(2, u8) } });
const old = { mode: 3, period: 500, counts: [1, 2] };

const CODECS = [
  { name: "qemu", codec: qemuCodec as Codec<unknown> },
  { name: "json", codec: jsonCodec as Codec<unknown> },
  { name: "protobuf", codec: protobufCodec as Codec<unknown> },
];

/** Moves a state from a program with one descriptor to a program with the other; QEMU's header has the version. */
function move<E, A, B>(codec: Codec<E>, from: Vmstate<A>, to: Vmstate<B>, state: A): B {
  return codec.decode(to, codec.encode(from, state), { version: from.version });
}

const breaks = (from: VmstateDescriptor, to: VmstateDescriptor) =>
  schemaBreaks(vmstateSchema([from]), vmstateSchema([to])).map(({ path, reason }) => `${path}: ${reason}`);

describe.each(CODECS)("a version later, in $name", ({ codec }) => {
  it("a field added loads from older states; older programs say that the version is too new", () => {
    const is = vmstate({
      name: "timer",
      version: 2,
      minimumVersion: 1,
      fields: { ...{ mode: u8, period: u16, counts: array(2, u8) }, phase: since(2, u32, 7) },
    });
    expect(move(codec, was, is, old)).toEqual({ ...old, phase: 7 });
    expect(() => move(codec, is, was, { ...old, phase: 9 })).toThrow(
      "timer: incoming version_id 2 is too new for local version_id 1",
    );
    expect(breaks(was, is)).toEqual([]);
    expect(breaks(is, was)).toEqual(["timer: version 2 is written, the reader knows up to 1"]);
  });

  it("a subsection added is left out while it is not needed, and loads in both directions then", () => {
    const is = vmstate({
      name: "timer",
      version: 1,
      fields: { mode: u8, period: u16, counts: array(2, u8) },
      subsections: {
        alarm: vmstate({
          name: "timer/alarm",
          version: 1,
          fields: { at: u32 },
          needed: ({ at }) => at > 0,
        }),
      },
    });
    expect(move(codec, was, is, old)).toEqual(old);
    expect(move(codec, is, was, { ...old, alarm: { at: 0 } })).toEqual(old);
    expect(() => move(codec, is, was, { ...old, alarm: { at: 5 } })).toThrow(
      /VM subsection '.*' in 'timer' does not exist/,
    );
    expect(breaks(was, is)).toEqual([]);
    expect(breaks(is, was)).toEqual([
      "timer/alarm: the reader does not know this subsection, and refuses states that have it",
    ]);
  });

  it("an array grown by a field of its own loads from older states", () => {
    const is = vmstate({
      name: "timer",
      version: 2,
      minimumVersion: 1,
      fields: { mode: u8, period: u16, counts: array(2, u8), moreCounts: since(2, array(2, u8), [0, 0]) },
    });
    expect(move(codec, was, is, old)).toEqual({ ...old, moreCounts: [0, 0] });
    expect(() => move(codec, is, was, { ...old, moreCounts: [3, 4] })).toThrow("is too new");
    expect(breaks(was, is)).toEqual([]);
  });
});

describe("a careless change", () => {
  it("removes a field: states are refused, unless its space stays", () => {
    const gone = vmstate({ name: "timer", version: 1, fields: { mode: u8, counts: array(2, u8) } });
    expect(() => move(qemuCodec, was, gone, old)).toThrow("timer: 2 bytes follow the state");
    expect(() => move(qemuCodec, gone, was, { mode: 3, counts: [1, 2] })).toThrow("timer/counts");
    expect(() => move(jsonCodec, was, gone, old)).toThrow('has an unknown member "period"');
    expect(() => move(jsonCodec, gone, was, { mode: 3, counts: [1, 2] })).toThrow("timer/period: is missing");
    expect(breaks(was, gone)).toEqual(["timer/period: the type is uint16, for the reader uint8 (its field 'counts')"]);

    const kept = vmstate({ name: "timer", version: 1, fields: { mode: u8, was: unused(2), counts: array(2, u8) } });
    expect(move(qemuCodec, was, kept, old)).toEqual({ mode: 3, counts: [1, 2] });
    expect(move(qemuCodec, kept, was, { mode: 3, counts: [1, 2] })).toEqual({ ...old, period: 0 });
  });

  it("grows an array in its place: the checker names it, and so does the load", () => {
    const grown = vmstate({ name: "timer", version: 1, fields: { mode: u8, period: u16, counts: array(4, u8) } });
    expect(() => move(qemuCodec, was, grown, old)).toThrow("timer/counts: 4 elements need 4 bytes, 2 are left");
    expect(() => move(jsonCodec, was, grown, old)).toThrow("timer/counts: has 2 elements, not 4");
    expect(() => move(protobufCodec, was, grown, old)).toThrow("timer/counts: has 2 elements, not 4");
    expect(breaks(was, grown)).toEqual([
      "timer/counts: the number of elements is 2, for the reader 4 (its field 'counts')",
    ]);
  });

  it("changes a struct within, which has no version of its own in streams", () => {
    const inner = { name: "inner", version: 1, fields: { level: u8 } };
    const later = vmstate({
      name: "inner",
      version: 2,
      minimumVersion: 1,
      fields: { level: u8, edge: since(2, u8, 0) },
    });
    const before = vmstate({ name: "outer", version: 1, fields: { line: struct(vmstate(inner)) } });
    const after = vmstate({ name: "outer", version: 1, fields: { line: struct(later) } });
    expect(breaks(before, after)).toEqual(["outer/line/edge: the reader expects this field, which is not written"]);
    const pinned = vmstate({ name: "outer", version: 1, fields: { line: struct(later, 1) } });
    expect(breaks(before, pinned)).toEqual([]);
    expect(move(qemuCodec, before, pinned, { line: { level: 1 } })).toEqual({ line: { level: 1, edge: 0 } });
  });

  it("forgets a section, or raises the oldest version that it reads", () => {
    expect(schemaBreaks(vmstateSchema([was]), {})).toEqual([
      { path: "timer", reason: "the reader does not know this section" },
    ]);
    const strict = vmstate({ name: "timer", version: 2, fields: { mode: u8, period: u16, counts: array(2, u8) } });
    expect(breaks(was, strict)).toEqual(["timer: version 1 is written, the reader knows from 2 on"]);
    expect(() => move(qemuCodec, was, strict, old)).toThrow("version_id 1 is too old for local minimum version_id 2");
  });
});
