import { describe, expect, it } from "@jest/globals";
import { qemuCodec } from "./codec/qemu.js";
import { vmstate } from "./descriptor.js";
import { VmstateError } from "./error.js";
import { array } from "./field/array.js";
import { atMost, equal } from "./field/equal.js";
import { existsIf, since } from "./field/exists.js";
import { i32, u8, u16 } from "./field/integer.js";
import { list } from "./field/list.js";
import { pointers } from "./field/pointers.js";
import { struct } from "./field/struct.js";
import { validate } from "./field/validate.js";

const fails = (code: string, path: string) => expect.objectContaining({ code, path });
const { encode, decode } = qemuCodec;

describe("versions", () => {
  const device = vmstate({
    name: "uart",
    version: 3,
    minimumVersion: 2,
    fields: { ier: u8, fifo: since(3, array(2, u8), [0, 0]), lcr: u8 },
  });

  it("decide which fields there are; missing ones are this side's, or the fallback", () => {
    const state = { ier: 1, fifo: [2, 3], lcr: 4 };
    expect(decode(device, encode(device, state), { version: 3 })).toEqual(state);
    const old = Uint8Array.of(1, 4);
    const one = decode(device, old, { version: 2 });
    expect(one).toEqual({ ier: 1, fifo: [0, 0], lcr: 4 });
    expect(Object.keys(one)).toEqual(["ier", "fifo", "lcr"]);
    one.fifo[0] = 99;
    expect(decode(device, old, { version: 2 }).fifo).toEqual([0, 0]);
    const local = { fifo: [5, 5] };
    const two = decode(device, old, { version: 2, local });
    two.fifo[0] = 99;
    expect(local).toEqual({ fifo: [5, 5] });
  });

  it("outside the range are refused in QEMU's words", () => {
    const load = (version: number) => () => decode(device, Uint8Array.of(1, 4), { version });
    expect(load(4)).toThrow("uart: incoming version_id 4 is too new for local version_id 3");
    expect(load(1)).toThrow("uart: incoming version_id 1 is too old for local minimum version_id 2");
    for (const version of [0, 1, 4, 2 ** 32 - 1, Number.NaN])
      expect(load(version)).toThrow(fails("VMSTATE_VERSION", "uart"));
  });

  it("of a struct are its own, unless the struct is held at one", () => {
    const outer = vmstate({ name: "outer", version: 9, fields: { current: struct(device), held: struct(device, 2) } });
    const state = { current: { ier: 1, fifo: [2, 3], lcr: 4 }, held: { ier: 5, fifo: [0, 0], lcr: 6 } };
    expect([...encode(outer, state)]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(decode(outer, encode(outer, state))).toEqual(state);
  });

  it("can be left to a function of what stands before", () => {
    type Mode = { mode: number };
    const wide = existsIf(["mode"], (state: Mode, version) => state.mode === 1 && version > 1, u16, 7);
    const modal = vmstate({ name: "modal", version: 2, minimumVersion: 1, fields: { mode: u8, wide } });
    expect([...encode(modal, { mode: 1, wide: 2 })]).toEqual([1, 0, 2]);
    expect([...encode(modal, { mode: 0, wide: 2 })]).toEqual([0]);
    expect(decode(modal, Uint8Array.of(0))).toEqual({ mode: 0, wide: 7 });
    expect(decode(modal, Uint8Array.of(1), { version: 1, local: { wide: 3 } })).toEqual({ mode: 1, wide: 3 });
  });
});

describe("this side's state", () => {
  it("must agree with equality fields and limits", () => {
    const sized = vmstate({
      name: "sized",
      version: 1,
      fields: { kind: equal(u8, 6), size: equal(u16), used: atMost(i32) },
    });
    const bytes = encode(sized, { kind: 6, size: 64, used: 10 });
    expect(decode(sized, bytes, { local: { size: 64, used: 10 } })).toEqual({ kind: 6, size: 64, used: 10 });
    const load = (local: { size?: number; used?: number }) => () => decode(sized, bytes, { local });
    expect(load({ size: 63, used: 10 })).toThrow(fails("VMSTATE_MISMATCH", "sized/size"));
    expect(load({ size: 64, used: 9 })).toThrow(fails("VMSTATE_MISMATCH", "sized/used"));
    expect(load({ used: 9 })).toThrow(fails("VMSTATE_LOCAL_MISSING", "sized/size"));
    expect(load({ size: 64 })).toThrow(fails("VMSTATE_LOCAL_MISSING", "sized/used"));
    const negative = encode(sized, { kind: 6, size: 64, used: -1 });
    expect(() => decode(sized, negative, { local: { size: 64, used: 10 } })).toThrow("is -1, not within 0 to 10");
    expect(() => decode(sized, bytes.with(0, 7), {})).toThrow("is 7, but 6 on this side");
  });

  it("tells which pointers are null", () => {
    const holes = vmstate({ name: "holes", version: 1, fields: { n: u8, at: pointers("n", u8) } });
    const bytes = encode(holes, { n: 3, at: [null, 0x30, 1] });
    expect([...bytes]).toEqual([3, 0x30, 0x30, 1]);
    const load = (...at: (number | null)[]) => decode(holes, bytes, { local: { at } });
    expect(load(null, 0, 0).at).toEqual([null, 0x30, 1]);
    expect(load(null, null, 0).at).toEqual([null, null, 1]);
    expect(() => load(null, 0, null)).toThrow(fails("VMSTATE_MISMATCH", "holes/at[2]"));
    expect(() => load(null, 0)).toThrow(fails("VMSTATE_LOCAL_MISSING", "holes/at"));
    expect(() => decode(holes, bytes)).toThrow(fails("VMSTATE_LOCAL_MISSING", "holes/at"));
  });

  it("reaches structs and elements of arrays, not of lists", () => {
    const item = vmstate({ name: "item", version: 1, fields: { size: equal(u8) } });
    const arrays = vmstate({ name: "arrays", version: 1, fields: { one: struct(item), many: array(2, struct(item)) } });
    const state = { one: { size: 1 }, many: [{ size: 2 }, { size: 3 }] };
    expect(decode(arrays, encode(arrays, state), { local: state })).toEqual(state);
    const local = { ...state, many: [{ size: 2 }, { size: 4 }] };
    expect(() => decode(arrays, encode(arrays, state), { local })).toThrow(
      fails("VMSTATE_MISMATCH", "arrays/many[1]/size"),
    );
    const lists = vmstate({ name: "lists", version: 1, fields: { items: list(struct(item)) } });
    const items = [{ size: 1 }];
    expect(() => decode(lists, encode(lists, { items }), { local: { items } })).toThrow(
      fails("VMSTATE_LOCAL_MISSING", "lists/items[0]/size"),
    );
  });
});

describe("subsections", () => {
  const extra = vmstate({ name: "dev/extra", version: 1, fields: { b: u8 }, needed: (state) => state.b !== 0 });
  const dev = vmstate({ name: "dev", version: 1, fields: { a: u8 }, subsections: { extra } });

  it("are written where the state has them and they are needed, and stay this side's where absent", () => {
    expect(encode(dev, { a: 1 })).toHaveLength(1);
    expect(encode(dev, { a: 1, extra: { b: 0 } })).toHaveLength(1);
    expect(encode(dev, { a: 1, extra: { b: 2 } })).toHaveLength(1 + 2 + 9 + 4 + 1);
    expect(decode(dev, Uint8Array.of(1))).toEqual({ a: 1 });
    expect(decode(dev, Uint8Array.of(1), { local: { extra: { b: 5 } } })).toEqual({ a: 1, extra: { b: 5 } });
  });

  it("that an older side does not know are refused by name", () => {
    const older = vmstate({ name: "dev", version: 1, fields: { a: u8 } });
    const bytes = encode(dev, { a: 1, extra: { b: 2 } });
    expect(() => decode(older, bytes)).toThrow("VM subsection 'dev/extra' in 'dev' does not exist");
    expect(decode(older, encode(dev, { a: 1, extra: { b: 0 } }))).toEqual({ a: 1 });
  });
});

describe("hooks", () => {
  it("run in order, and can replace the state", () => {
    const calls: string[] = [];
    const dev = vmstate({
      name: "dev",
      version: 2,
      minimumVersion: 1,
      fields: { a: u8, b: since(2, u8, 0) },
      preSave: (state) => {
        calls.push("pre-save");
        return { ...state, a: state.a + 1 };
      },
      postSave: (state) => calls.push(`post-save ${state.a}`),
      preLoad: (local) => {
        calls.push("pre-load");
        return { b: 9, ...local };
      },
      postLoad: (state, version) => {
        calls.push(`post-load ${version}`);
        return { ...state, a: state.a * 2 };
      },
    });
    expect([...encode(dev, { a: 1, b: 2 })]).toEqual([2, 2]);
    expect(decode(dev, Uint8Array.of(2), { version: 1 })).toEqual({ a: 4, b: 9 });
    expect(calls).toEqual(["pre-save", "post-save 2", "pre-load", "post-load 1"]);
  });

  it("refuse by throwing; after a failed save the first error counts", () => {
    const thrower = (hook: "preSave" | "postSave" | "preLoad" | "postLoad", calls: string[] = []) =>
      vmstate({
        name: "dev",
        version: 1,
        fields: { a: u8 },
        [hook]: () => {
          calls.push(hook);
          throw new Error("no line");
        },
      });
    expect(() => encode(thrower("preSave"), { a: 1 })).toThrow("dev: pre-save failed: no line");
    expect(() => encode(thrower("postSave"), { a: 1 })).toThrow("dev: post-save failed: no line");
    expect(() => decode(thrower("preLoad"), Uint8Array.of(1))).toThrow("dev: pre-load failed: no line");
    const outer = vmstate({ name: "outer", version: 1, fields: { inner: struct(thrower("postLoad")) } });
    expect(() => decode(outer, Uint8Array.of(1))).toThrow(fails("VMSTATE_HOOK", "outer/inner"));
    const calls: string[] = [];
    expect(() => encode(thrower("postSave", calls), { a: 256 })).toThrow(fails("VMSTATE_VALUE", "dev/a"));
    expect(calls).toEqual(["postSave"]);
  });

  it("validate on both sides, and block what cannot be migrated", () => {
    const check = validate(["a"], (state: { a: number }) => state.a < 5);
    const dev = vmstate({ name: "dev", version: 1, fields: { a: u8, check, b: u8 } });
    expect(decode(dev, encode(dev, { a: 4, b: 1 }))).toEqual({ a: 4, b: 1 });
    expect(() => encode(dev, { a: 5, b: 1 })).toThrow(fails("VMSTATE_VALIDATION", "dev/check"));
    expect(() => decode(dev, Uint8Array.of(5, 1))).toThrow("Input validation failed");
    const passthrough = vmstate({ name: "pass", version: 1, unmigratable: true, fields: {} });
    expect(() => encode(passthrough, {})).toThrow("State blocked by non-migratable device 'pass'");
    expect(() => decode(passthrough, new Uint8Array())).toThrow(fails("VMSTATE_UNMIGRATABLE", "pass"));
  });
});

it("errors are recognised by the brand that all of Baton's errors carry", () => {
  const error = new VmstateError("VMSTATE_INVALID", "is odd", { path: "a/b", offset: 3, details: { byte: 1 } });
  expect(Symbol.for("baton.BatonError") in error).toBe(true);
  expect(error.message).toBe("a/b: is odd (at byte 3)");
  expect(error.details).toEqual({ byte: 1, path: "a/b", offset: 3 });
});
