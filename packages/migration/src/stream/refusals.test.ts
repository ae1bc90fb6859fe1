import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { readBytes } from "../../test/support/run-stream.js";
import { closeRam, contentsOf, early, expected, ram, sample, sections, small } from "../../test/support/sample.js";
import { type Channel, inMemoryChannels, type StreamRam, type WriteStreamContents, writeStream } from "../index.js";
import { u8, vmstate } from "../vmstate/index.js";
import { TAG } from "./format.js";
import type { ReadStreamContents } from "./stream-reader.js";

const uuid = new Uint8Array(16).fill(1);
let source: StreamRam[];
let target: StreamRam[];

beforeAll(() => {
  source = ram(true, 6);
  target = ram(false, 6);
});
afterAll(() => closeRam(source, target));

async function all(channel: Channel): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let part = await channel.read(); part.length > 0; part = await channel.read()) parts.push(part);
  return Uint8Array.from(Buffer.concat(parts));
}

/** The bytes of a stream. */
async function written(changes: Partial<WriteStreamContents> = {}): Promise<Uint8Array> {
  const [write, read] = inMemoryChannels();
  const contents = { machineType: "microvm", uuid, ram: source, sections, ...changes };
  const [, bytes] = await Promise.all([writeStream(write, contents).then(() => write.end()), all(read)]);
  return bytes;
}

const read = (bytes: Uint8Array, changes: Partial<ReadStreamContents> = {}) =>
  readBytes(bytes, { machineType: "microvm", uuid, ram: target, sections: expected, ...changes });

const refused = (code: string, message: string | RegExp) =>
  expect.objectContaining({
    code,
    message: typeof message === "string" ? expect.stringContaining(message) : expect.stringMatching(message),
  });

function put(bytes: Uint8Array, write: (view: DataView) => void): Uint8Array {
  const copy = Uint8Array.from(bytes);
  write(new DataView(copy.buffer));
  return copy;
}

/** Where a section starts: its tag. */
function sectionAt(bytes: Uint8Array, idstr: string): number {
  return Buffer.from(bytes).indexOf(String.fromCharCode(idstr.length) + idstr) - 5;
}

describe("a stream is refused by name", () => {
  it.each([
    ["magic", 0, 0x12345678, "STREAM_HEADER", "Not a migration stream, magic: 12345678 != 5145564d"],
    ["obsolete version", 4, 2, "STREAM_HEADER", "SaveVM v2 format is obsolete and no longer supported"],
    ["version", 4, 4, "STREAM_HEADER", "Unsupported migration stream version, file version 4 != 3"],
    ["no configuration", 8, 0x01000000, "STREAM_CONFIGURATION", "Configuration section missing, 1 != 7"],
  ])("%s", async (_, at, word, code, message) => {
    const bytes = put(await written(), (view) => view.setUint32(at, word));
    expect(() => read(bytes)).toThrow(refused(code, message));
  });

  it("another machine, of which only the start is the same", async () => {
    const bytes = await written();
    expect(() => read(bytes, { machineType: "microvm-2" })).toThrow(
      refused("STREAM_CONFIGURATION", "Machine type received is 'microvm' and local is 'microvm-2'"),
    );
    expect(() => read(bytes, { machineType: "micro" })).toThrow(refused("STREAM_CONFIGURATION", "local is 'micro'"));
  });

  it("other capabilities and another UUID", async () => {
    const bytes = await written();
    expect(() => read(bytes, { capabilities: ["x-ignore-shared"] })).toThrow(
      refused("STREAM_CONFIGURATION", "Capability x-ignore-shared is on, but received capability is off"),
    );
    expect(() => read(bytes, { uuid: new Uint8Array(16) })).toThrow(
      refused("STREAM_CONFIGURATION", "UUID received is 01010101-0101-0101-0101-010101010101 and local is 0000"),
    );
    const strange = await written({ capabilities: ["nonsense" as never] });
    expect(() => read(strange)).toThrow(refused("STREAM_CONFIGURATION", "Received unknown capability nonsense"));
  });

  it("a section that is unknown, missing, there twice or too new", async () => {
    const bytes = await written();
    const without = expected.filter(({ descriptor, instanceId }) => descriptor !== small || instanceId === 0);
    expect(() => read(bytes, { sections: without })).toThrow(
      refused("STREAM_SECTION_UNKNOWN", /^Unknown section or instance 'small' 1\. .*hotplugged devices \(at byte \d+/),
    );
    const more = [...expected, { idstr: "other", instanceId: 2, descriptor: small }];
    expect(() => read(bytes, { sections: more })).toThrow(
      refused("STREAM_SECTION_MISSING", "the stream ends without section 'other' 2"),
    );
    const first = sectionAt(bytes, "small");
    const second = sectionAt(bytes.subarray(first + 10), "small") + first + 10;
    const twice = put(bytes, (view) => view.setUint32(second + 11, 0));
    expect(() => read(twice)).toThrow(refused("STREAM_SECTION_TWICE", `section 'small' came twice (at byte ${second}`));
    const newer = put(bytes, (view) => view.setUint32(first + 15, 9));
    expect(() => read(newer)).toThrow(refused("STREAM_SECTION_VERSION", "unsupported version 9 for 'small' v1"));
    const older = put(bytes, (view) => view.setUint32(sectionAt(bytes, "0000:00:01.0/sample") + 29, 1));
    expect(() => read(older)).toThrow(
      refused("VMSTATE_VERSION", "sample: incoming version_id 1 is too old for local minimum version_id 2"),
    );
  });

  it("a footer that is wrong or missing, and a part of what was not started", async () => {
    const bytes = await written();
    const at = sectionAt(bytes, "small");
    const footer = at + 19 + 4;
    expect(bytes[footer]).toBe(TAG.footer);
    const wrong = put(bytes, (view) => view.setUint32(footer + 1, 0xff));
    expect(() => read(wrong)).toThrow(
      refused("STREAM_FOOTER", /Mismatched section id in footer for small -read 0xff expected 0x\d/),
    );
    const missing = put(bytes, (view) => view.setUint8(footer, 4));
    expect(() => read(missing)).toThrow(
      refused("STREAM_FOOTER", `Missing section footer for small (at byte ${footer}`),
    );
    const part = put(bytes, (view) => view.setUint8(at, TAG.part));
    expect(() => read(part)).toThrow(refused("STREAM_SECTION_ID", "Unknown savevm section 3"));
  });

  it("a section that this side reads as shorter or longer", async () => {
    const bytes = await written();
    const longer = vmstate({ name: "early", version: 1, fields: { a: u8, b: u8 } });
    const other = expected.map((section) =>
      section.descriptor === early ? { ...section, descriptor: longer } : section,
    );
    expect(() => read(bytes, { sections: other })).toThrow(
      refused("STREAM_FOOTER", "Missing section footer for early"),
    );
    expect(() => read(bytes, { maxSectionBytes: 40 })).not.toThrow();
  });

  it("commands with a bad length, unknown ones, those that are not served", async () => {
    const bytes = await written();
    const at = Buffer.from(bytes).indexOf(Buffer.from([TAG.command, 0, 11, 0, 0]));
    const command = (code: number, length: number) =>
      put(bytes, (view) => {
        view.setUint16(at + 1, code);
        view.setUint16(at + 3, length);
      });
    expect(() => read(command(2, 8))).toThrow(
      refused("STREAM_COMMAND", "PING received with bad length - expecting 4, got 8"),
    );
    expect(() => read(command(99, 0))).toThrow(refused("STREAM_COMMAND", "MIG_CMD 0x63 unknown (len 0x0)"));
    expect(() => read(command(1, 0))).toThrow(refused("STREAM_COMMAND", "command OPEN_RETURN_PATH is not supported"));
  });

  it("RAM that is not this side's, and pages in other ways", async () => {
    const bytes = await written();
    const [first, second] = target as [StreamRam, StreamRam];
    expect(() => read(bytes, { ram: [first] })).toThrow(
      refused("STREAM_RAM", 'Unknown ramblock "pc.ram", cannot accept migration'),
    );
    const others = ram(false, 8);
    expect(() => read(bytes, { ram: [first, others[1] as StreamRam] })).toThrow(
      refused("STREAM_RAM", "Size mismatch: pc.ram: 0x6000 != 0x8000"),
    );
    closeRam(others);
    const page = Buffer.from(bytes).indexOf("\x06pc.ram", Buffer.from(bytes).indexOf("\x06pc.ram") + 1) - 8;
    for (const [flag, name] of [
      [0x40, "XBZRLE"],
      [0x80, "HOOK (RDMA)"],
      [0x100, "COMPRESS_PAGE"],
      [0x01, "FULL"],
    ] as const) {
      const changed = put(bytes, (view) => view.setUint32(page + 4, flag));
      expect(() => read(changed)).toThrow(refused("STREAM_RAM_UNSUPPORTED", `pages with ${name} are not supported`));
    }
    const beyond = put(bytes, (view) => view.setUint32(page, 0x7fff_ffff));
    expect(() => read(beyond)).toThrow(refused("STREAM_RAM", /a page at \d+ of RAM block 'pc.ram', which has 24576/));
    const huge = put(bytes, (view) => view.setBigUint64(sectionAt(bytes, "ram") + 17, (2n ** 63n) | 4n));
    expect(() => read(huge)).toThrow(refused("STREAM_RAM", /RAM block|savevm|does not end/));
    const ignoring = { capabilities: ["x-ignore-shared"] as const };
    const shared = await written({ ...ignoring, ram: source.map((block) => ({ ...block, ignored: true })) });
    const moved = [first, second].map((block) => ({ ...block, ignored: true, gpa: 0x1000n }));
    expect(() => read(shared, { ...ignoring, ram: moved })).toThrow(
      refused("STREAM_RAM", "Mismatched GPAs for block pc.ram 0x100000000 != 0x1000"),
    );
  });

  it("checksums that are not there or do not fit", async () => {
    const bytes = await written();
    const plain = await written({ checksum: false });
    expect(() => read(plain)).toThrow(refused("STREAM_CHECKSUM_MISSING", "the stream has no section 'baton/checksum'"));
    expect(read(plain, { checksum: "if-present" }).checksum).toBe(false);
    expect(read(bytes, { checksum: "if-present" }).checksum).toBe(true);
    const content = Buffer.from(source[1]?.block.view(4096, 64) as ArrayBuffer);
    const flipped = put(bytes, (view) => {
      const at = Buffer.from(bytes).indexOf(content) + 9;
      view.setUint8(at, view.getUint8(at) ^ 1);
    });
    expect(() => read(flipped)).toThrow(
      refused("STREAM_CHECKSUM", /the checksum of RAM is 0x.{8}, the stream says 0x/),
    );
    const value = put(bytes, (view) => view.setUint32(sectionAt(bytes, "small") + 19, 12345));
    expect(() => read(value)).toThrow(refused("STREAM_CHECKSUM", "the checksum of the stream is"));
  });

  it("zero pages make RAM zero that was not", async () => {
    const bytes = await written();
    const used = ram(true, 6);
    for (const { block } of used) new Uint8Array(block.view(0, Number(block.size))).fill(0xff);
    read(bytes, { ram: used });
    expect(contentsOf(used)).toEqual(contentsOf(source));
    closeRam(used);
  });
});

describe("nothing is written", () => {
  const long = "x".repeat(128);
  it.each<[string, Partial<WriteStreamContents>, string]>([
    ["a machine type without letters", { machineType: "" }, "a machine type has 1 to 255 bytes"],
    ["a UUID of 15 bytes", { uuid: new Uint8Array(15) }, "a UUID has 16 bytes, not 15"],
    [
      "a section with a long name",
      { sections: [{ idstr: long, instanceId: 0, descriptor: small, state: { value: 1 } }] },
      "a section's name has 1 to 127 bytes",
    ],
    [
      "a section with a name of the format's",
      { sections: [{ idstr: "ram", instanceId: 0, descriptor: small, state: { value: 1 } }] },
      "the section name 'ram' is taken",
    ],
    ["a section twice", { sections: [...sections, ...sections] }, "two sections are called 'early'"],
  ])("of %s", async (_, changes, message) => {
    const [write] = inMemoryChannels();
    const contents = { machineType: "microvm", uuid, ram: source, sections, ...changes };
    await expect(writeStream(write, contents)).rejects.toEqual(refused("STREAM_VALUE", message));
    expect(write.position).toBe(0);
  });

  it("of RAM twice, or ignored without the capability; of mapped pages where there are no places", async () => {
    const [write] = inMemoryChannels();
    const contents = { machineType: "microvm", sections, ram: source };
    const [first] = source as [StreamRam];
    await expect(writeStream(write, { ...contents, ram: [first, first] })).rejects.toEqual(
      refused("STREAM_VALUE", "two RAM blocks are called 'small.ram'"),
    );
    await expect(writeStream(write, { ...contents, ram: [{ ...first, ignored: true }] })).rejects.toEqual(
      refused("STREAM_VALUE", "RAM is ignored only with the capability x-ignore-shared"),
    );
    await expect(writeStream(write, { ...contents, capabilities: ["mapped-ram"] })).rejects.toEqual(
      refused("CHANNEL_NOT_SEEKABLE", "only a file has places"),
    );
  });
});

it("a description never has the byte of a brace in its length", async () => {
  for (let length = 1; length <= 120; length++) {
    const idstr = "n".repeat(length);
    const bytes = await written({
      ram: [],
      sections: [{ idstr, instanceId: 0, descriptor: sample, state: sections[1]?.state }],
    });
    const start = Buffer.from(bytes).lastIndexOf('{"configuration"');
    const size = new DataView(bytes.buffer).getUint32(start - 4);
    expect(start + size).toBe(bytes.length);
    expect([...bytes.subarray(start - 4, start)]).not.toContain(0x7b);
  }
});
