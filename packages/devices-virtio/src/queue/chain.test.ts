import { IoVector, memfdCreate, tryPreadv, tryPwritev } from "@baton/linux";
import { GuestMemory, RamBlock } from "@baton/memory";
import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { type Chain, makeChain } from "./chain.js";
import { RamMap } from "./ram-map.js";

describe("Chain", () => {
  let block: RamBlock;
  let memory: GuestMemory;
  let chain: Chain;
  beforeEach(() => {
    block = RamBlock.create({ id: "ram", size: 0x8000n });
    memory = GuestMemory.layout([block]);
    const collected = {
      pieces: [0x1000, 3, 0x1003, 2, 0x3000, 5, 0x4ffe, 4, 0x7000, 6],
      firstWritable: 6,
      readableLength: 10,
      writableLength: 10,
    };
    chain = makeChain(new RamMap(memory), {}, 1, 2, 5, collected);
    memory.write(0x1000, Uint8Array.of(1, 2, 3, 4, 5));
    memory.write(0x3000, Uint8Array.of(6, 7, 8, 9, 10));
    block.dirty.reader("all").take();
  });
  afterEach(() => {
    memory.close();
    block.close();
  });
  const dirty = (work: () => void) => {
    const reader = block.dirty.reader("test");
    reader.take();
    work();
    const pages = reader.take().flatMap(({ offset, length }) => [offset / 4096, length / 4096]);
    reader.close();
    return pages;
  };

  it("tells its pieces, and is plain data when saved", () => {
    const readable = [
      { gpa: 0x1000, length: 3 },
      { gpa: 0x1003, length: 2 },
      { gpa: 0x3000, length: 5 },
    ];
    const writable = [
      { gpa: 0x4ffe, length: 4 },
      { gpa: 0x7000, length: 6 },
    ];
    expect([chain.readable, chain.writable]).toEqual([readable, writable]);
    const plain = (pieces: typeof readable) => pieces.map(({ gpa, length }) => ({ gpa: BigInt(gpa), length }));
    const saved = { id: 1, position: 2, descriptors: 5, readable: plain(readable), writable: plain(writable) };
    expect(chain.save()).toEqual(saved);
  });

  it("2.7.4: reads over all pieces, whatever their cut", () => {
    const bytes = new Uint8Array(20);
    expect(chain.read(bytes)).toBe(10);
    expect([...bytes.subarray(0, 11)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
    expect(chain.read(bytes.subarray(0, 4), 2)).toBe(4);
    expect([...bytes.subarray(0, 4)]).toEqual([3, 4, 5, 6]);
    expect(chain.read(bytes, 10)).toBe(0);
    expect(chain.read(bytes, 99)).toBe(0);
  });

  it("writes 16 bits at any place, which are marked when it is complete", () => {
    for (const offset of [0, 1, 3, 5, 8]) {
      chain.writeU16(offset, 0x1234);
      const bytes = chain.writableSlices().flatMap((slice) => [...slice]);
      expect(bytes.slice(offset, offset + 2)).toEqual([0x34, 0x12]);
    }
    expect(dirty(() => chain.complete(10))).toEqual([4, 2, 7, 1]);
    for (const offset of [-1, 9, 10]) {
      expect(() => chain.writeU16(offset, 1)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
  });

  it("writes over all pieces and marks them", () => {
    expect(dirty(() => expect(chain.write(Uint8Array.of(1, 2), 1)).toBe(2))).toEqual([4, 2]);
    expect(dirty(() => expect(chain.write(new Uint8Array(50).fill(9), 4)).toBe(6))).toEqual([7, 1]);
    expect([...memory.read(0x4ffe, 4)]).toEqual([0, 1, 2, 0]);
    expect(dirty(() => chain.complete(10))).toEqual([]);
  });

  it("reads fields and writes single bytes, also where they lie across pieces", () => {
    expect([0, 1, 6].map((offset) => chain.readU32(offset))).toEqual([0x0403_0201, 0x0504_0302, 0x0a09_0807]);
    memory.write(0x1000, Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(chain.readU32(0)).toBe(0xffff_ffff);
    expect(dirty(() => chain.writeU8(9, 7))).toEqual([7, 1]);
    expect(dirty(() => chain.writeU8(1, 8))).toEqual([4, 1]);
    expect([memory.readU8(0x7005), memory.readU8(0x4fff)]).toEqual([7, 8]);
    const refused = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    for (const offset of [-1, 7, 99]) expect(() => chain.readU32(offset)).toThrow(refused);
    for (const offset of [-1, 10]) expect(() => chain.writeU8(offset, 0)).toThrow(refused);
  });

  it("marks exactly what was written through slices or pieces", () => {
    expect(dirty(() => chain.writableSlices()[0]?.set([7]))).toEqual([]);
    expect(dirty(() => chain.complete(1))).toEqual([4, 1]);
    expect(chain.writablePieces().map(({ length }) => length)).toEqual([4, 6]);
    expect(dirty(() => chain.complete(5))).toEqual([4, 2, 7, 1]);
    expect(dirty(() => chain.markWritten(4, 1))).toEqual([7, 1]);
    expect(chain.readableSlices(4, 2).map((slice) => [...slice])).toEqual([[5], [6]]);
  });

  it("joins pieces that touch, for readv and writev", () => {
    expect(chain.readablePieces().map(({ length }) => length)).toEqual([5, 5]);
    expect(chain.readablePieces(4, 2).map(({ length }) => length)).toEqual([1, 1]);
  });

  it("gathers pieces for readv and writev in hot loops", () => {
    using fd = memfdCreate("file");
    const vector = new IoVector();
    expect(chain.gatherReadable(vector)).toBe(10);
    expect([vector.count, vector.byteLength]).toEqual([2, 10]);
    const addresses = chain.readablePieces().flatMap(({ address, length }) => [address, BigInt(length)]);
    expect([...vector.words.subarray(0, 4)]).toEqual(addresses);
    expect(tryPwritev(fd.raw, vector.words, vector.count, 0)).toBe(10);
    vector.clear();
    expect(chain.gatherWritable(vector, 1, 8)).toBe(8);
    expect(tryPreadv(fd.raw, vector.words, vector.count, 0)).toBe(8);
    expect([...memory.read(0x4ffe, 4), ...memory.read(0x7000, 6)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    expect(dirty(() => chain.complete(9))).toEqual([4, 2, 7, 1]);
    expect(chain.gatherReadable(new IoVector(1))).toBe(5);
    expect(chain.gatherReadable(vector, 10)).toBe(0);
  });

  it("refuses ranges beyond its end", () => {
    const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    expect(() => chain.readableSlices(0, 11)).toThrow(invalid);
    expect(() => chain.readablePieces(-1)).toThrow(invalid);
    expect(() => chain.writableSlices(11)).toThrow(invalid);
    expect(() => chain.markWritten(5, 6)).toThrow(invalid);
    expect(() => chain.gatherReadable(new IoVector(), 5, 6)).toThrow(invalid);
    expect(() => chain.gatherWritable(new IoVector(), -1)).toThrow(invalid);
    chain.writableSlices();
    expect(() => chain.complete(11)).toThrow(invalid);
    expect(() => chain.read(new Uint8Array(4), -1)).toThrow(invalid);
  });

  it("is saved as plain data", () => {
    expect(structuredClone(chain.save())).toMatchObject({
      id: 1,
      position: 2,
      writable: [{ gpa: 0x4ffen, length: 4 }, {}],
    });
  });
});
