import fc from "fast-check";
import {
  array,
  atMost,
  bitmap,
  bool,
  buffer,
  equal,
  existsIf,
  float64,
  i8,
  i16,
  i32,
  i64,
  list,
  named,
  pointers,
  since,
  struct,
  tailQueue,
  temporary,
  text,
  timer,
  tree,
  u8,
  u16,
  u32,
  u64,
  unused,
  type Vmstate,
  validate,
  vmstate,
} from "../src/vmstate/index.js";

/** A descriptor and states that it describes; `local` is this side's state that such a state can be loaded over. */
export interface FieldCase {
  readonly name: string;
  readonly descriptor: Vmstate<object>;
  readonly states: fc.Arbitrary<object>;
  readonly local: (state: object) => object;
}

function fieldCase<S extends object>(
  descriptor: Vmstate<S>,
  states: fc.Arbitrary<S>,
  local: (state: S) => object = () => ({}),
): FieldCase {
  return { name: descriptor.name, descriptor, states, local } as unknown as FieldCase;
}

const byte = fc.nat(255);
const wide = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const many = <T>(item: fc.Arbitrary<T>, length: number) => fc.array(item, { minLength: length, maxLength: length });
/** A count up to `max` and a state made of it. */
const counted = <S>(max: number, make: (n: number) => fc.Arbitrary<S>) => fc.nat(max).chain(make);

const item = vmstate({
  name: "item",
  version: 1,
  fields: { id: u8, on: bool },
  subsections: { note: vmstate({ name: "item/note", version: 2, minimumVersion: 1, fields: { text } }) },
});
const note = fc.record({ text: fc.string({ unit: "grapheme", maxLength: 12 }) });
const items = fc.oneof(fc.record({ id: byte, on: fc.boolean() }), fc.record({ id: byte, on: fc.boolean(), note }));
const rows = (n: number) => many(items, n);
const words = (bits: number) =>
  many(wide, Math.ceil(bits / 64)).map((all) => {
    const value = BigUint64Array.from(all);
    if (bits % 64) value[value.length - 1]! &= (1n << BigInt(bits % 64)) - 1n;
    return value;
  });

/** Every type of field. */
export const FIELD_CASES: readonly FieldCase[] = [
  fieldCase(
    vmstate({ name: "integers", version: 1, fields: { a: u8, b: i8, c: u16, d: i16, e: u32, f: i32, g: u64, h: i64 } }),
    fc.record({
      a: byte,
      b: fc.integer({ min: -128, max: 127 }),
      c: fc.nat(0xffff),
      d: fc.integer({ min: -0x8000, max: 0x7fff }),
      e: fc.nat(0xffff_ffff),
      f: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      g: wide,
      h: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    }),
  ),
  fieldCase(
    vmstate({ name: "scalars", version: 1, fields: { yes: bool, real: float64, at: timer, name: text } }),
    fc.record({
      yes: fc.boolean(),
      real: wide,
      at: fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 2n })),
      name: fc.string({ unit: "grapheme", maxLength: 20 }),
    }),
  ),
  fieldCase(
    vmstate({
      name: "bytes",
      version: 1,
      fields: { n: u8, raw: buffer(3), gap: unused(2), some: buffer("n"), scaled: buffer({ of: "n", times: 3 }) },
    }),
    counted(9, (n) => fc.record({ n: fc.constant(n), raw: bytes(3), some: bytes(n), scaled: bytes(n * 3) })),
  ),
  fieldCase(
    vmstate({ name: "bitmaps", version: 1, fields: { n: u16, fixed: bitmap(70), some: bitmap("n") } }),
    counted(200, (n) => fc.record({ n: fc.constant(n), fixed: words(70), some: words(n) })),
  ),
  fieldCase(
    vmstate({
      name: "structs",
      version: 1,
      fields: {
        one: struct(item),
        swapped: temporary(vmstate({ name: "swap", version: 1, fields: { low: u8, high: u8 } }), {
          save: (value: number) => ({ low: value & 0xff, high: value >> 8 }),
          load: ({ low, high }) => low | (high << 8),
        }),
      },
    }),
    fc.record({ one: items, swapped: fc.nat(0xffff) }),
  ),
  fieldCase(
    vmstate({
      name: "arrays",
      version: 1,
      fields: { n: u8, fixed: array(2, u16), some: array("n", struct(item)), nested: array("n", array(2, u8)) },
    }),
    counted(4, (n) =>
      fc.record({ n: fc.constant(n), fixed: many(fc.nat(0xffff), 2), some: rows(n), nested: many(many(byte, 2), n) }),
    ),
  ),
  fieldCase(
    vmstate({
      name: "pointers",
      version: 1,
      fields: { n: u8, fixed: pointers(3, u8), some: pointers("n", struct(item)) },
    }),
    counted(4, (n) =>
      fc.record({ n: fc.constant(n), fixed: many(fc.option(byte), 3), some: many(fc.option(items), n) }),
    ),
    ({ fixed, some }) => ({
      fixed: fixed.map((value) => (value === null ? null : 0)),
      some: some.map((value) => (value === null ? null : {})),
    }),
  ),
  fieldCase(
    vmstate({ name: "lists", version: 1, fields: { list: list(struct(item)), queue: tailQueue(u16) } }),
    fc.record({ list: fc.array(items, { maxLength: 4 }), queue: fc.array(fc.nat(0xffff), { maxLength: 4 }) }),
  ),
  fieldCase(
    vmstate({ name: "trees", version: 1, fields: { direct: tree(u64, u8), keyed: tree(struct(item), list(u8)) } }),
    fc.record({
      direct: fc
        .uniqueArray(wide, { maxLength: 5 })
        .map((keys) => keys.sort((a, b) => (a < b ? -1 : 1)).map((key, value) => ({ key, value }))),
      keyed: fc.array(fc.record({ key: items, value: fc.array(byte, { maxLength: 3 }) }), { maxLength: 3 }),
    }),
  ),
  fieldCase(
    vmstate({
      name: "rules",
      version: 3,
      minimumVersion: 1,
      fields: {
        mode: u8,
        later: since(3, u16, 5),
        maybe: existsIf(["mode"], (state: { mode: number }) => state.mode > 127, named("maybe_not", u8), 0),
        same: equal(u32),
        fixed: equal(u8, 7),
        most: atMost(i32),
        sane: validate(["mode"], (state: { mode: number }) => state.mode !== 77),
      },
    }),
    fc
      .record({
        mode: byte.filter((mode) => mode !== 77),
        later: fc.nat(0xffff),
        maybe: byte,
        same: fc.nat(0xffff_ffff),
        fixed: fc.constant(7),
        most: fc.nat(2 ** 31 - 1),
      })
      .map((state) => (state.mode > 127 ? state : { ...state, maybe: 0 })),
    ({ same, most }) => ({ same, most }),
  ),
  fieldCase(item, items),
  fieldCase(
    vmstate({
      name: "deep",
      version: 1,
      fields: { one: struct(item) },
      subsections: {
        a: vmstate({
          name: "deep/a",
          version: 1,
          fields: { list: list(struct(item)) },
          subsections: { inner: vmstate({ name: "deep/a/inner", version: 1, fields: { item: struct(item) } }) },
        }),
        b: vmstate({ name: "deep/b", version: 1, fields: {} }),
      },
    }),
    fc.record(
      {
        one: items,
        a: fc.record(
          { list: fc.array(items, { maxLength: 3 }), inner: fc.record({ item: items }) },
          { requiredKeys: ["list"] },
        ),
        b: fc.constant({}),
      },
      { requiredKeys: ["one"] },
    ),
  ),
];
