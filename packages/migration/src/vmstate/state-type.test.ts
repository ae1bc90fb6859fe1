import { describe, expect, it } from "@jest/globals";
import { qemuCodec } from "./codec/qemu.js";
import { type StateOf, type Vmstate, vmstate } from "./descriptor.js";
import { array } from "./field/array.js";
import { buffer, unused } from "./field/bytes.js";
import { since } from "./field/exists.js";
import { u8, u16, u32, u64 } from "./field/integer.js";
import { struct } from "./field/struct.js";
import { text } from "./field/text.js";
import { timer } from "./field/timer.js";
import { validate } from "./field/validate.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

const queue = vmstate({ name: "queue", version: 1, fields: { index: u16, rings: array(3, u64) } });
const device = vmstate({
  name: "device",
  version: 2,
  fields: {
    count: u32,
    queues: array("count", struct(queue)),
    old: unused(4),
    expires: timer,
    mac: since(2, buffer(6), new Uint8Array(6)),
    sane: validate(["count"], (state: { count: number }) => state.count < 9),
  },
  subsections: { label: vmstate({ name: "device/label", version: 1, fields: { label: text } }) },
  needed: (state) => state.count > 0,
  postLoad: (state) => ({ ...state, count: state.count }),
});

interface DeviceState {
  count: number;
  queues: { index: number; rings: bigint[] }[];
  expires: bigint | null;
  mac: Uint8Array;
  label?: { label: string } | undefined;
}

describe("the type of a state", () => {
  it("follows from the descriptor", () => {
    const same: Same<StateOf<typeof device>, DeviceState> = true;
    const fits = device satisfies Vmstate<DeviceState>;
    expect([same, fits.name]).toEqual([true, "device"]);
  });

  it("must fit: each of these lines fails to compile", () => {
    const state: DeviceState = { count: 0, queues: [], expires: null, mac: new Uint8Array(6) };
    const mistakes = () => {
      // @ts-expect-error a member is missing
      device satisfies Vmstate<DeviceState & { more: number }>;
      // @ts-expect-error a member of another type
      device satisfies Vmstate<Omit<DeviceState, "count"> & { count: bigint }>;
      // @ts-expect-error the descriptor has more members
      device satisfies Vmstate<Omit<DeviceState, "mac">>;
      // @ts-expect-error a subsection may be absent
      device satisfies Vmstate<DeviceState & { label: { label: string } }>;
      // @ts-expect-error a value of another type
      qemuCodec.encode(device, { ...state, count: 1n });
      // @ts-expect-error a member in an element is missing
      qemuCodec.encode(device, { ...state, queues: [{ index: 1 }] });
      // @ts-expect-error the local state has no such member
      qemuCodec.decode(device, new Uint8Array(), { local: { color: 1 } });
      // @ts-expect-error there is no member `length`
      vmstate({ name: "a", version: 1, fields: { count: u8, items: array("length", u8) } });
      // @ts-expect-error a count is a number
      vmstate({ name: "a", version: 1, fields: { count: u64, items: array("count", u8) } });
      // @ts-expect-error the element reads a member that does not exist
      vmstate({ name: "a", version: 1, fields: { items: array(2, buffer("size")) } });
      // @ts-expect-error the check reads a member of another type
      vmstate({ name: "a", version: 1, fields: { n: u64, ok: validate(["n"], (s: { n: number }) => s.n > 0) } });
      // @ts-expect-error a hook returns the whole state
      vmstate({ name: "a", version: 1, fields: { n: u8, m: u8 }, postLoad: (s) => ({ n: s.n }) });
      // @ts-expect-error the fallback has the field's type
      vmstate({ name: "a", version: 2, fields: { n: since(2, u64, 0) } });
      // @ts-expect-error unused space has no member
      ({ ...state, old: 1 }) satisfies StateOf<typeof device>;
    };
    expect(mistakes).toBeInstanceOf(Function);
  });
});
