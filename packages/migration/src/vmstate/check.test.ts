import { describe, expect, it } from "@jest/globals";
import { vmstate } from "./descriptor.js";
import { array } from "./field/array.js";
import { buffer, unused } from "./field/bytes.js";
import { existsIf, since } from "./field/exists.js";
import { u8 } from "./field/integer.js";
import { list } from "./field/list.js";
import { pointers } from "./field/pointers.js";
import { struct } from "./field/struct.js";
import { tree } from "./field/tree.js";

const refused = (path: string) => expect.objectContaining({ code: "VMSTATE_DESCRIPTOR", path });
const sub = (name: string) => vmstate({ name, version: 1, fields: { a: u8 } });

describe("a descriptor is refused", () => {
  it("with names or versions that streams cannot carry", () => {
    expect(() => sub("")).toThrow("1 to 255 bytes");
    expect(() => sub("é".repeat(128))).toThrow("1 to 255 bytes");
    for (const version of [-1, 1.5, 2 ** 32, Number.NaN]) {
      expect(() => vmstate({ name: "a", version, fields: {} })).toThrow(refused("a"));
    }
    expect(() => vmstate({ name: "a", version: 1, minimumVersion: 2, fields: {} })).toThrow(refused("a"));
  });

  it("with versions that are never written or read", () => {
    const late = () => vmstate({ name: "a", version: 1, fields: { b: since(2, u8, 0) } });
    expect(late).toThrow("it comes with version 2, which is never written");
    for (const version of [0, 2, Number.NaN]) expect(() => struct(sub("a"), version)).toThrow("a has no version");
  });

  it("with two rules for the existence of a field", () => {
    const always = existsIf([], () => true, u8, 0);
    expect(() => since(1, always, 0)).toThrow("a rule for its existence already");
    expect(() => existsIf([], () => true, since(1, u8, 0), 0)).toThrow("a rule for its existence already");
  });

  it("with members that JavaScript would put elsewhere", () => {
    for (const name of ["0", "12x", "", "__proto__", "$version"]) {
      expect(() => vmstate({ name: "a", version: 1, fields: { b: u8, [name]: u8 } })).toThrow("a member's name");
    }
  });

  it("with counts that do not stand before what they count", () => {
    const items = { items: array("count", u8), count: u8 };
    expect(() => vmstate({ name: "a", version: 1, fields: items })).toThrow(refused("a/items"));
    const late = { late: existsIf(["mode"], (state: { mode: number }) => state.mode > 0, u8, 0), mode: u8 };
    expect(() => vmstate({ name: "a", version: 1, fields: late })).toThrow(refused("a/late"));
    for (const count of [-1, 1.5, Number.NaN]) expect(() => array(count, u8)).toThrow("is no count");
    expect(() => buffer({ of: "n", times: -2 })).toThrow("is no count");
  });

  it("with subsections that would be read as another's", () => {
    const make = (name: string) =>
      vmstate({ name: "dev", version: 1, fields: { a: u8 }, subsections: { sub: sub(name) } });
    expect(make("dev/x").subsections).toHaveProperty("sub");
    expect(() => make("dev")).toThrow(refused("dev/sub"));
    expect(() => make("other/x")).toThrow(refused("dev/sub"));
    const twice = { one: sub("dev/x"), two: sub("dev/x") };
    expect(() => vmstate({ name: "dev", version: 1, fields: { a: u8 }, subsections: twice })).toThrow(
      refused("dev/two"),
    );
    expect(() => vmstate({ name: "dev", version: 1, fields: { sub: u8 }, subsections: { sub: sub("dev/x") } })).toThrow(
      "a field has the same name",
    );
    const tail = (field: ReturnType<typeof struct>) =>
      vmstate({ name: "dev", version: 1, fields: { field }, subsections: { sub: sub("dev/core/x") } });
    expect(() => tail(struct(sub("dev/core")) as never)).toThrow("would be read as one of dev/core");
    expect(() => tail(array(2, struct(sub("dev/core"))) as never)).toThrow("would be read as one of dev/core");
    expect(tail(list(struct(sub("dev/core"))) as never).name).toBe("dev");
  });

  it("with elements that nothing bounds", () => {
    const empty = struct(vmstate({ name: "empty", version: 1, fields: {} }));
    const maybe = struct(
      vmstate({
        name: "maybe",
        version: 2,
        minimumVersion: 1,
        fields: { a: existsIf([], () => false, u8, 0), b: since(2, u8, 0) },
      }),
      1,
    );
    for (const element of [empty, maybe]) {
      expect(() => array("n", element as never)).toThrow("at least one byte");
      expect(() => pointers("n", element as never)).toThrow("at least one byte");
      expect(array(3, element as never).minimumBytes).toBe(0);
    }
    expect(() => list(since(1, u8, 0))).toThrow("always exist");
    expect(() => tree(u8, unused(1))).toThrow("always exist");
  });
});
