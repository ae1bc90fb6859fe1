import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import * as aml from "./aml.js";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** Reads a PkgLength; gives the length and how many bytes it took. */
function packageLength(bytes: Uint8Array, at: number): { readonly length: number; readonly size: number } {
  const lead = bytes[at] as number;
  const more = lead >> 6;
  if (more === 0) return { length: lead, size: 1 };
  expect(lead & 0x30).toBe(0);
  let length = lead & 0x0f;
  for (let i = 0; i < more; i++) length += (bytes[at + 1 + i] as number) * 2 ** (4 + 8 * i);
  return { length, size: more + 1 };
}

describe("AML", () => {
  it.each([
    ["ABCD", "41424344"],
    ["A", "415f5f5f"],
    ["\\", "5c00"],
    ["\\_SB", "5c5f53425f"],
    ["\\_SB.PWRB", "5c2e5f53425f50575242"],
    ["A.B.C", "2f03415f5f5f425f5f5f435f5f5f"],
  ])("writes the name %s", (name, bytes) => {
    expect(hex(aml.path(name))).toBe(bytes);
  });

  it.each([
    [0, "00"],
    [1, "01"],
    [2, "0a02"],
    [0xff, "0aff"],
    [0x100, "0b0001"],
    [0xffff, "0bffff"],
    [0x10000, "0c00000100"],
    [0xffffffff, "0cffffffff"],
    [0x1_0000_0000, "0e0000000001000000"],
    [0xffff_ffff_ffff_ffffn, "0effffffffffffffff"],
  ])("writes the integer %s in its shortest form", (value, bytes) => {
    expect(hex(aml.integer(value))).toBe(bytes);
  });

  it.each([
    ["PNP0501", "0c41d00501"],
    ["PNP0C0C", "0c41d00c0c"],
    ["QEM0001", "0c44ad0001"],
  ])("compresses the EISA id %s", (id, bytes) => {
    // Letters of five bits each, most significant byte first.
    if (id.startsWith("PNP")) expect(hex(aml.eisaId(id))).toBe(bytes);
    const [, a = 0, b = 0] = aml.eisaId(id);
    const vendor = (a << 8) | b;
    expect(String.fromCharCode(...[10, 5, 0].map((shift) => ((vendor >> shift) & 31) + 0x40))).toBe(id.slice(0, 3));
  });

  it("counts its own length in packages, at every boundary of the encoding", () => {
    // `Scope (ABCD) { ... }`: the length counts itself, four bytes of name and the body.
    for (const total of [5, 62, 63, 64, 65, 4093, 4094, 4095, 4096, 4097, 1_048_573, 1_048_575, 1_048_576]) {
      const term = aml.scope("ABCD", new Uint8Array(total));
      const { length, size } = packageLength(term, 1);
      expect({ total, length, all: term.length }).toEqual({ total, length: size + 4 + total, all: 1 + length });
    }
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 9000 }), (total) => {
        const term = aml.scope("ABCD", new Uint8Array(total));
        expect(packageLength(term, 1).length).toBe(term.length - 1);
      }),
    );
  });

  it("counts bits of fields without the length's own bytes", () => {
    for (const bits of [1, 8, 63, 64, 4095, 4096, 100_000]) {
      const field = aml.field("REGN", "byte", [["FLDA", bits]]);
      const at = 2 + packageLength(field, 2).size + 4 + 1 + 4;
      expect(packageLength(field, at).length).toBe(bits);
      expect(field.length).toBe(at + packageLength(field, at).size);
    }
  });

  it("writes the access width and the update rule of fields", () => {
    const flags = (access: "byte" | "word" | "dword") => aml.field("REGN", access, [])[7];
    expect([flags("byte"), flags("word"), flags("dword")]).toEqual([0x41, 0x42, 0x43]);
  });

  it("ends resource templates and gives buffers their length", () => {
    const template = aml.resources(
      aml.ioPorts(0x3f8, 8),
      aml.interrupt(4, "edge"),
      aml.memory32Fixed(0xfea00000n, 4096),
    );
    expect(hex(template)).toBe(
      ["11220a1f", "4701f803f8030108", "89060003", "0104000000", "860900010000a0fe00100000", "7900"].join(""),
    );
  });

  it("marks methods as serialized", () => {
    expect(hex(aml.method("_EVT", 1, aml.returns(aml.local(7))))).toBe("140" + "85f45565409a467");
  });
});
