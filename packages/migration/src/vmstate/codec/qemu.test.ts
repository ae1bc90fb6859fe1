import { describe, expect, it } from "@jest/globals";
import { vmstate } from "../descriptor.js";
import { array } from "../field/array.js";
import { bitmap } from "../field/bitmap.js";
import { buffer, unused } from "../field/bytes.js";
import { since } from "../field/exists.js";
import { fd } from "../field/fd.js";
import { float64 } from "../field/float.js";
import { bool, i8, i16, i32, i64, u8, u16, u32, u64 } from "../field/integer.js";
import { list, tailQueue } from "../field/list.js";
import { pointers } from "../field/pointers.js";
import { struct, temporary } from "../field/struct.js";
import { text } from "../field/text.js";
import { timer } from "../field/timer.js";
import { tree } from "../field/tree.js";
import { ByteReader } from "./byte-reader.js";
import { ByteWriter } from "./byte-writer.js";
import { qemuCodec, readQemuState, writeQemuState } from "./qemu.js";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const fails = (code: string, path: string, offset?: number) =>
  expect.objectContaining({ code, path, ...(offset === undefined ? {} : { offset }) });

const pair = vmstate({ name: "pair", version: 1, fields: { a: u8, b: u16 } });

describe("QEMU's encoding", () => {
  it("has these bytes for every type of field", () => {
    const all = vmstate({
      name: "all",
      version: 1,
      fields: {
        yes: bool,
        u8,
        i8,
        u16,
        i16,
        u32,
        i32,
        u64,
        i64,
        float: float64,
        armed: timer,
        idle: timer,
        raw: buffer(3),
        gap: unused(2),
        bits: bitmap(65),
        pair: struct(pair),
        fixed: array(2, u16),
        counted: array("u8", u8),
        scaled: buffer({ of: "u8", times: 2 }),
        holes: pointers(2, u16),
        list: list(u8),
        queue: tailQueue(struct(pair)),
        tree: tree(u64, u8),
        text,
        swapped: temporary(pair, {
          save: (value: number) => ({ a: value & 0xff, b: value >> 8 }),
          load: ({ a, b }) => a | (b << 8),
        }),
      },
    });
    const state = {
      yes: true,
      u8: 2,
      i8: -2,
      u16: 0x1234,
      i16: -2,
      u32: 0xfedc_ba98,
      i32: -2,
      u64: 0xfedc_ba98_7654_3210n,
      i64: -2n,
      float: 0x7ff0_0000_0000_0001n,
      armed: 5n,
      idle: null,
      raw: Uint8Array.of(1, 2, 3),
      bits: BigUint64Array.of(1n, 1n),
      pair: { a: 1, b: 2 },
      fixed: [1, 2],
      counted: [7, 8],
      scaled: Uint8Array.of(1, 2, 3, 4),
      holes: [null, 9],
      list: [4, 5],
      queue: [{ a: 1, b: 2 }],
      tree: [{ key: 1n, value: 6 }],
      text: "é",
      swapped: 0x0102_03,
    };
    const bytes = qemuCodec.encode(all, state);
    const expected =
      "01 02 fe 1234 fffe fedcba98 fffffffe fedcba9876543210 fffffffffffffffe 7ff0000000000001" +
      " 0000000000000005 ffffffffffffffff 010203 0000 0000000000000001 0000000000000001" +
      " 01 0002 0001 0002 07 08 01020304 30 0009 01 04 01 05 00 01 01 0002 00" +
      " 00000001 01 0000000000000001 06 00 02 c3a9 03 0102";
    expect(hex(bytes)).toBe(expected.replaceAll(" ", ""));
    expect(qemuCodec.decode(all, bytes, { local: { holes: [null, 0] } })).toEqual(state);
  });

  it("writes the configuration section of a QEMU with a capability and a UUID", () => {
    const counted = vmstate({
      name: "configuration",
      version: 1,
      fields: { length: u32, machine: buffer("length") },
      subsections: {
        capabilities: vmstate({
          name: "configuration/capabilities",
          version: 1,
          fields: { count: u32, names: array("count", text) },
        }),
        uuid: vmstate({ name: "configuration/uuid", version: 1, fields: { bytes: buffer(16) } }),
      },
    });
    const machine = new TextEncoder().encode("pc-q35-10.0");
    const bytes = qemuCodec.encode(counted, {
      length: machine.length,
      machine,
      capabilities: { count: 1, names: ["x-ignore-shared"] },
      uuid: { bytes: new Uint8Array(16).fill(0xab) },
    });
    const latin = (word: string) => Buffer.from(word).toString("hex");
    expect(hex(bytes)).toBe(
      `0000000b${latin("pc-q35-10.0")}` +
        `051a${latin("configuration/capabilities")}00000001000000010f${latin("x-ignore-shared")}` +
        `0512${latin("configuration/uuid")}00000001${"ab".repeat(16)}`,
    );
  });

  it("gives a subsection to the innermost struct whose name it starts with", () => {
    const inner = vmstate({
      name: "inner",
      version: 1,
      fields: { a: u8 },
      subsections: { more: vmstate({ name: "inner/more", version: 1, fields: { b: u8 } }) },
    });
    const outer = vmstate({
      name: "outer",
      version: 1,
      fields: { inner: struct(inner) },
      subsections: { late: vmstate({ name: "outer/late", version: 3, minimumVersion: 2, fields: { c: u8 } }) },
    });
    for (const more of [{}, { more: { b: 2 } }]) {
      for (const late of [{}, { late: { c: 3 } }]) {
        const state = { inner: { a: 1, ...more }, ...late };
        expect(qemuCodec.decode(outer, qemuCodec.encode(outer, state))).toEqual(state);
      }
    }
    // Order is free, a second one of a name is not.
    const late = qemuCodec.encode(outer, { inner: { a: 1 }, late: { c: 3 } });
    const twice = Uint8Array.of(...late, ...late.subarray(1));
    expect(() => qemuCodec.decode(outer, twice)).toThrow(fails("VMSTATE_SUBSECTION", "outer"));
    expect(() =>
      qemuCodec.decode(
        outer,
        late.map((byte, i) => (i === 16 ? 4 : byte)),
      ),
    ).toThrow(fails("VMSTATE_VERSION", "outer/late"));
    const unknown = Uint8Array.of(1, 5, 7, ...new TextEncoder().encode("inner/x"), 0, 0, 0, 1, 9);
    expect(() => qemuCodec.decode(outer, unknown)).toThrow("VM subsection 'inner/x' in 'inner' does not exist");
    const foreign = Uint8Array.of(1, 5, 5, ...new TextEncoder().encode("other"), 0, 0, 0, 1, 9);
    expect(() => qemuCodec.decode(outer, foreign)).toThrow(fails("VMSTATE_TRAILING", "outer", 1));
  });

  it("gives bytes of their own, whatever they were read from", () => {
    const key = vmstate({ name: "key", version: 1, fields: { key: buffer(4) } });
    const read = Buffer.from([1, 2, 3, 4]);
    const decoded = qemuCodec.decode(key, read);
    read.fill(0);
    expect(Buffer.isBuffer(decoded.key)).toBe(false);
    expect(decoded.key).toEqual(Uint8Array.of(1, 2, 3, 4));
  });

  it("names path and offset of what it refuses", () => {
    const queue = vmstate({ name: "queue", version: 1, fields: { used: bool, n: u16, ring: array("n", u32) } });
    const device = vmstate({ name: "device", version: 1, fields: { queues: array(2, struct(queue)) } });
    const from = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
    const read = (text: string) => () => qemuCodec.decode(device, from(text), { path: "0000:00:01.0/device" });
    const path = "0000:00:01.0/device/queues";
    expect(read("01 0000 02 0000")).toThrow(fails("VMSTATE_INVALID", `${path}[1]/used`, 3));
    expect(read("01 0001 00000001 00 ff")).toThrow(fails("VMSTATE_TRUNCATED", `${path}[1]/n`, 8));
    expect(read("01 ffff 00000001")).toThrow(fails("VMSTATE_COUNT", `${path}[0]/ring`));
    expect(read("01 0000 01 0000 07")).toThrow(fails("VMSTATE_TRAILING", "0000:00:01.0/device", 6));
    expect(() => qemuCodec.encode(device, { queues: [{ used: true, n: 70000, ring: [] }] as never })).toThrow(
      fails("VMSTATE_VALUE", "device/queues"),
    );
    const ring = { used: true, n: 1, ring: [2 ** 32] };
    expect(() => qemuCodec.encode(device, { queues: [ring, ring] })).toThrow(
      fails("VMSTATE_VALUE", "device/queues[0]/ring[0]"),
    );
  });

  it("refuses counts that the bytes cannot hold, before it allocates", () => {
    const most = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 1, 1, 1, 1, 1, 1, 1);
    const counted = {
      array: array("n", u8),
      nested: array("n", array(3, list(u8))),
      structs: array("n", struct(pair)),
      holes: pointers("n", u64),
      bits: bitmap("n"),
    };
    for (const [name, field] of Object.entries(counted)) {
      const descriptor = vmstate({
        name: "many",
        version: 1,
        fields: { n: u32, [name]: field as typeof counted.array },
      });
      expect(() => qemuCodec.decode(descriptor, most)).toThrow(fails("VMSTATE_COUNT", `many/${name}`, 0));
    }
    const raw = vmstate({ name: "raw", version: 1, fields: { n: u32, raw: buffer({ of: "n", times: 2 ** 20 }) } });
    expect(() => qemuCodec.decode(raw, most)).toThrow(fails("VMSTATE_TRUNCATED", "raw/raw", 4));
    const huge = vmstate({ name: "huge", version: 1, fields: { n: u32, raw: buffer({ of: "n", times: 2 ** 30 }) } });
    expect(() => qemuCodec.decode(huge, most)).toThrow(fails("VMSTATE_INVALID", "huge/raw"));
    const nodes = vmstate({ name: "nodes", version: 1, fields: { nodes: tree(u64, u8) } });
    expect(() => qemuCodec.decode(nodes, most)).toThrow(fails("VMSTATE_COUNT", "nodes/nodes", 0));
    const negative = vmstate({ name: "negative", version: 1, fields: { n: i32, items: array("n", u8) } });
    expect(() => qemuCodec.decode(negative, most)).toThrow(fails("VMSTATE_INVALID", "negative/items"));
    expect(() => qemuCodec.encode(negative, { n: -1, items: [] })).toThrow(fails("VMSTATE_VALUE", "negative/items"));
    const short = Uint8Array.of(0, 0, 0, 2, 1, ...new Uint8Array(8), 7, 0, ...new Uint8Array(30));
    expect(() => qemuCodec.decode(nodes, short)).toThrow("has 1 nodes, not the 2 it announced");
  });

  it("reads and writes states within a stream, descriptors by a hook", () => {
    const holder = vmstate({
      name: "holder",
      version: 2,
      minimumVersion: 1,
      fields: { file: fd, size: since(2, u8, 7) },
    });
    const sent: number[] = [];
    const writer = new ByteWriter();
    writer.u8(0xaa);
    writeQemuState(
      writer,
      holder,
      { file: 33, size: 1 },
      {
        fds(file, out) {
          sent.push(file);
          out.u8(0x20);
        },
      },
    );
    writer.u8(0xbb);
    const reader = new ByteReader(writer.finish(), 1);
    const fds = (stream: ByteReader) => {
      expect(stream.u8()).toBe(0x20);
      return sent[0]!;
    };
    expect(readQemuState(reader, holder, { fds })).toEqual({ file: 33, size: 1 });
    expect(reader.u8()).toBe(0xbb);
    expect(readQemuState(new ByteReader(Uint8Array.of(0x20)), holder, { fds, version: 1 })).toEqual({
      file: 33,
      size: 7,
    });
    expect(() => qemuCodec.encode(holder, { file: 33, size: 1 })).toThrow(fails("VMSTATE_FD", "holder/file"));
  });
});
