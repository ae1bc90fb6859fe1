import { describe, expect, it } from "@jest/globals";
import protobuf from "protobufjs/light.js";
import { array, buffer, fd, pointers, struct, u8, u16, u64, vmstate } from "../vmstate/index.js";
import { protobufCodec } from "./codec.js";
import { checkNumbers, memberNumber, subsectionNumber } from "./field-number.js";
import { protobufType } from "./type.js";

const queueFields = { used: u16 };
const queue = vmstate({ name: "queue", version: 1, fields: queueFields });
const fields = { base: u64, queues: array(2, struct(queue)), spare: pointers(2, u8) };
const extra = vmstate({ name: "device/extra", version: 3, fields: { level: u8 } });
const versions = { name: "device", version: 2, minimumVersion: 1 };
const device = vmstate({ ...versions, fields, subsections: { extra } });
const state = { base: 2n ** 64n - 1n, queues: [{ used: 1 }, { used: 65535 }], spare: [null, 5], extra: { level: 9 } };
const local = { spare: [null, 0] };

describe("protobuf", () => {
  it("is read by others, who know the description alone", () => {
    const described = JSON.parse(JSON.stringify(protobufType(device).root.toJSON()));
    const type = protobuf.Root.fromJSON(described).lookupType("S_device");
    const message = type.toObject(type.decode(protobufCodec.encode(device, state)), { longs: String });
    expect(message).toEqual({
      _version: 2,
      _end: true,
      base: "18446744073709551615",
      queues: { element: [{ used: 1 }, { used: 65535 }] },
      spare: { element: [5], absent: [0] },
      extra: { _version: 3, level: 9 },
    });
  });

  it("keeps what a newer writer has added, however the state is copied", () => {
    const deeper = vmstate({ name: "queue", version: 1, fields: { ...queueFields, depth: u64 } });
    const newer = vmstate({ ...versions, fields: { ...fields, queues: array(2, struct(deeper)), colour: u8 } });
    const theirs = {
      ...state,
      extra: undefined,
      colour: 3,
      queues: [
        { used: 1, depth: 7n },
        { used: 2, depth: 8n },
      ],
    };
    const mine = protobufCodec.decode(device, protobufCodec.encode(newer, theirs), { local });
    const changed = { ...mine, base: 5n, queues: mine.queues.map(({ used }) => ({ used: used + 10 })) };
    const back = protobufCodec.decode(newer, protobufCodec.encode(device, changed), { local });
    expect(back).toEqual({
      base: 5n,
      colour: 3,
      queues: [
        { used: 11, depth: 7n },
        { used: 12, depth: 8n },
      ],
      spare: [null, 5],
    });
  });

  it("gives bytes of their own, whatever they were read from", () => {
    const key = vmstate({ name: "key", version: 1, fields: { key: buffer(4) } });
    const encoded = protobufCodec.encode(key, { key: Uint8Array.of(1, 2, 3, 4) });
    expect(Buffer.isBuffer(encoded)).toBe(false);
    const read = Buffer.from(encoded);
    const decoded = protobufCodec.decode(key, read);
    read.fill(0);
    expect(Buffer.isBuffer(decoded.key)).toBe(false);
    expect(decoded.key).toEqual(Uint8Array.of(1, 2, 3, 4));
  });

  it("refuses versions and subsections that it does not know, and says which member is missing", () => {
    const bytes = protobufCodec.encode(device, state);
    const later = vmstate({ name: "device", version: 5, fields });
    expect(() => protobufCodec.decode(later, bytes)).toThrow("incoming version_id 2 is too old");
    const without = vmstate({ ...versions, fields });
    expect(() => protobufCodec.decode(without, bytes, { local })).toThrow(
      expect.objectContaining({ code: "VMSTATE_SUBSECTION" }),
    );
    const more = vmstate({ ...versions, fields: { ...fields, colour: u8 } });
    expect(() => protobufCodec.decode(more, bytes, { local })).toThrow(
      expect.objectContaining({
        code: "VMSTATE_INVALID",
        path: "device/colour",
        message: expect.stringContaining("is missing"),
      }),
    );
    expect(() =>
      protobufCodec.encode(vmstate({ name: "holder", version: 1, fields: { file: fd } }), { file: 3 }),
    ).toThrow(expect.objectContaining({ code: "VMSTATE_FD" }));
  });

  it("has numbers that protobuf allows, which never change", () => {
    expect([memberNumber("base"), memberNumber("queues"), subsectionNumber("device/extra")]).toMatchInlineSnapshot(`
[
  31264736,
  19953265,
  156331954,
]
`);
    for (let i = 0; i < 20_000; i++) {
      const number = memberNumber(`member${i}`);
      expect(number >= 16 && number < 2 ** 25 && (number < 19_000 || number > 19_999)).toBe(true);
      expect(subsectionNumber(`member${i}`)).toBeLessThan(2 ** 29);
    }
  });

  it("refuses a descriptor with two names of one number", () => {
    const seen = new Map<number, string>();
    let pair: [string, string] | undefined;
    for (let i = 0; pair === undefined; i++) {
      const name = `n${i}`;
      const other = seen.get(memberNumber(name));
      if (other !== undefined) pair = [other, name];
      seen.set(memberNumber(name), name);
    }
    const clash = vmstate({ name: "clash", version: 1, fields: { [pair[0]]: u8, [pair[1]]: u8 } });
    expect(() => checkNumbers(clash)).toThrow(expect.objectContaining({ code: "VMSTATE_DESCRIPTOR" }));
  });
});
