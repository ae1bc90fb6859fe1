import { describe, expect, it } from "@jest/globals";
import { vmstate } from "../descriptor.js";
import { array } from "../field/array.js";
import { buffer, unused } from "../field/bytes.js";
import { fd } from "../field/fd.js";
import { u8, u64 } from "../field/integer.js";
import { named } from "../field/named.js";
import { struct } from "../field/struct.js";
import { tree } from "../field/tree.js";
import { jsonCodec } from "./json.js";

const inner = vmstate({ name: "inner", version: 1, fields: { used: named("used_idx", u8) } });
const device = vmstate({
  name: "device",
  version: 3,
  minimumVersion: 2,
  fields: { mac: buffer(2), gap: unused(4), base: u64, queues: array(1, struct(inner)), map: tree(u64, u8) },
  subsections: { extra: vmstate({ name: "device/extra", version: 2, fields: { level: u8 } }) },
});
const state = {
  mac: Uint8Array.of(10, 255),
  base: 2n ** 64n - 1n,
  queues: [{ used: 7 }],
  map: [{ key: 1n, value: 2 }],
  extra: { level: 4 },
};
const json = {
  $version: 3,
  mac: "0aff",
  base: "18446744073709551615",
  queues: [{ used: 7 }],
  map: [{ key: "1", value: 2 }],
  $subsections: { "device/extra": { $version: 2, level: 4 } },
};

describe("JSON", () => {
  it("is readable, with the names of the state", () => {
    expect(jsonCodec.encode(device, state)).toEqual(json);
    expect(jsonCodec.decode(device, json)).toEqual(state);
  });

  it("carries its versions", () => {
    expect(() => jsonCodec.decode(device, { ...json, $version: 4 })).toThrow("version_id 4 is too new");
    expect(() => jsonCodec.decode(device, { ...json, $version: 1 })).toThrow("version_id 1 is too old");
    const old = { ...json, $subsections: { "device/extra": { $version: 1, level: 4 } } };
    expect(() => jsonCodec.decode(device, old)).toThrow("device/extra: incoming version_id 1 is too old");
  });

  it("is refused by the name of the field", () => {
    const refuse = (change: object, code: string, path: string) =>
      expect(() => jsonCodec.decode(device, { ...json, ...change })).toThrow(expect.objectContaining({ code, path }));
    refuse({ mac: "0AFF" }, "VMSTATE_INVALID", "device/mac");
    refuse({ mac: "0aff00" }, "VMSTATE_INVALID", "device/mac");
    refuse({ base: 5 }, "VMSTATE_INVALID", "device/base");
    refuse({ base: "18446744073709551616" }, "VMSTATE_INVALID", "device/base");
    refuse({ queues: [{ used: 256 }] }, "VMSTATE_INVALID", "device/queues[0]/used");
    refuse({ queues: [] }, "VMSTATE_COUNT", "device/queues");
    refuse({ $subsections: { "device/other": { $version: 1 } } }, "VMSTATE_SUBSECTION", "device");
    refuse({ $subsections: [] }, "VMSTATE_INVALID", "device");
    refuse({ colour: 1 }, "VMSTATE_INVALID", "device");
    const holder = vmstate({ name: "holder", version: 1, fields: { file: fd } });
    expect(() => jsonCodec.encode(holder, { file: 3 })).toThrow(expect.objectContaining({ code: "VMSTATE_FD" }));
    expect(() => jsonCodec.decode(holder, { $version: 1, file: 3 })).toThrow("JSON carries no descriptors");
  });
});
