import { describe, expect, it } from "@jest/globals";
import { IoVector } from "./io-vector.js";
import { memfdCreate } from "./memfd.js";
import { addressOf } from "./native.js";
import { pwrite } from "./read-write.js";
import { packIovecs, tryPreadv, tryPwritev } from "./vectors.js";

const pieces = (vector: IoVector) =>
  Array.from({ length: vector.count }, (_, i) => [vector.words[i * 2], vector.words[i * 2 + 1]]);

describe("IoVector", () => {
  it("packs as packIovecs does, and joins what touches", () => {
    const vector = new IoVector(4);
    const high = 0x7fff_8000_1000;
    expect([vector.add(high, 0x1000), vector.add(0x1000, 1), vector.add(0x1001, 7), vector.add(0x3000, 0)]).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect([vector.count, vector.byteLength]).toEqual([2, 0x1008]);
    const packed = packIovecs([
      { address: BigInt(high), length: 0x1000 },
      { address: 0x1000n, length: 8 },
    ]);
    expect(vector.words.subarray(0, 4)).toEqual(packed);
    vector.clear();
    expect([vector.add(0x1008, 3 * 2 ** 32), vector.count, pieces(vector)]).toEqual([
      true,
      1,
      [[0x1008n, 3n * 2n ** 32n]],
    ]);
  });

  it("takes no more pieces than it has room for, but joins", () => {
    const vector = new IoVector(2);
    expect([vector.add(10, 1), vector.add(20, 1), vector.add(30, 1), vector.add(21, 4)]).toEqual([
      true,
      true,
      false,
      true,
    ]);
    expect([vector.count, vector.byteLength]).toEqual([2, 6]);
  });

  it("drops what was added last, whole pieces and parts of them, and joins again", () => {
    const vector = new IoVector();
    for (const address of [100, 200, 300]) vector.add(address, 4);
    vector.truncate(6);
    expect([pieces(vector), vector.byteLength]).toEqual([
      [
        [100n, 4n],
        [200n, 2n],
      ],
      6,
    ]);
    vector.add(202, 1);
    expect(pieces(vector)[1]).toEqual([200n, 3n]);
    vector.truncate(4);
    expect(pieces(vector)).toEqual([[100n, 4n]]);
    vector.truncate(0);
    vector.add(104, 1);
    expect([pieces(vector), vector.byteLength]).toEqual([[[104n, 1n]], 1]);
    expect(() => vector.truncate(2)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("advances over whole pieces and parts of them", () => {
    const vector = new IoVector();
    for (const address of [0x1_0000_0000 - 2, 100, 200]) vector.add(address, 4);
    vector.advance(3);
    expect([pieces(vector), vector.byteLength]).toEqual([
      [
        [0x1_0000_0001n, 1n],
        [100n, 4n],
        [200n, 4n],
      ],
      9,
    ]);
    vector.advance(5);
    expect(pieces(vector)).toEqual([[200n, 4n]]);
    vector.advance(1);
    vector.add(204, 2);
    expect(pieces(vector)).toEqual([[201n, 5n]]);
    vector.advance(5);
    vector.add(206, 1);
    expect(pieces(vector)).toEqual([[206n, 1n]]);
  });

  it("gathers and scatters", () => {
    using fd = memfdCreate("v");
    pwrite(fd, Buffer.from("abcdef"), 0);
    const [one, two] = [new Uint8Array(4), new Uint8Array(4)];
    const vector = new IoVector();
    vector.add(Number(addressOf(one)) + 1, 2);
    vector.add(Number(addressOf(two)), 3);
    expect(tryPreadv(fd.raw, vector.words, vector.count, 1)).toBe(5);
    expect(Buffer.from([...one, ...two]).toString()).toBe("\0bc\0def\0");
    vector.advance(2);
    expect(tryPwritev(fd.raw, vector.words, vector.count, 0)).toBe(3);
    expect(tryPreadv(fd.raw, vector.words, vector.count, 0)).toBe(3);
    expect(Buffer.from(two).toString()).toBe("def\0");
  });

  it("finds the one byte that is not zero, wherever it is", () => {
    const bytes = [512, 4095, 4096, 4097, 70_000].map((length) => new Uint8Array(length));
    const vector = new IoVector();
    expect(vector.isZero()).toBe(true);
    for (const piece of bytes) vector.add(Number(addressOf(piece)), piece.length);
    expect(vector.isZero()).toBe(true);
    for (const piece of bytes) {
      for (const at of [0, 1, 511, 4094, 4095, 4096, piece.length - 1]) {
        if (at >= piece.length) continue;
        piece[at] = 1;
        expect(vector.isZero()).toBe(false);
        piece[at] = 0;
      }
    }
    expect(vector.isZero()).toBe(true);
  });

  it("refuses what is no piece of memory", () => {
    const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    const vector = new IoVector();
    for (const [address, length] of [
      [0, 1],
      [-1, 1],
      [1.5, 1],
      [Number.NaN, 1],
      [2 ** 60, 1],
      [1, -1],
      [1, 0.5],
    ] as const) {
      expect(() => vector.add(address, length)).toThrow(invalid);
    }
    expect(() => vector.advance(1)).toThrow(invalid);
    for (const capacity of [0, 1025, 1.5]) expect(() => new IoVector(capacity)).toThrow(invalid);
    expect(vector.count).toBe(0);
  });
});
