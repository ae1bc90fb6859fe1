import { describe, expect, it } from "@jest/globals";
import { errnoMessage, errnoName, throwErrno } from "./errno.js";
import { BatonError, throwIfAborted } from "./errors.js";

describe("BatonError", () => {
  it("carries a code, details, a hint and a cause", () => {
    const cause = new Error("inner");
    const error = new BatonError("X_FAILED", "x failed", { cause, hint: "try y", details: { size: 3n } });
    expect(error.message).toBe("x failed; try y");
    expect(error).toMatchObject({ code: "X_FAILED", hint: "try y", details: { size: 3n }, cause, name: "BatonError" });
    expect("errno" in error).toBe(false);
    expect(String(error)).toBe("BatonError: x failed; try y");
  });

  it("is recognised across module copies, by brand", async () => {
    const copy = (await import(new URL("../dist/index.js", import.meta.url).href)) as typeof import("./index.js");
    const foreign = new copy.BatonError("A", "b");
    expect(copy.BatonError).not.toBe(BatonError);
    expect(foreign instanceof BatonError).toBe(true);
    expect(BatonError.is(foreign, "A")).toBe(true);
    expect(BatonError.is(foreign, "B")).toBe(false);
    expect(new Error("x") instanceof BatonError).toBe(false);
    expect(BatonError.is(null)).toBe(false);
  });

  it("keeps the ordinary meaning of instanceof for subclasses", () => {
    class Special extends BatonError {}
    expect(new Special("A", "b") instanceof Special).toBe(true);
    expect(new BatonError("A", "b") instanceof Special).toBe(false);
  });

  it("wraps what is not one", () => {
    const plain = new Error("plain");
    expect(BatonError.from(plain, "C")).toMatchObject({ code: "C", message: "plain", cause: plain });
    expect(BatonError.from("text", "C").message).toBe("text");
    const own = new BatonError("D", "own");
    expect(BatonError.from(own, "C")).toBe(own);
  });
});

describe("errno", () => {
  it("knows names and texts", () => {
    expect([errnoName(2), errnoName(11), errnoName(4711)]).toEqual(["ENOENT", "EAGAIN", "errno 4711"]);
    expect(errnoMessage(13)).toBe("permission denied");
  });

  it("says what failed, on what, and why", () => {
    expect(() => throwErrno("open", 13, { what: "/dev/kvm", hint: "join group kvm" })).toThrow(
      "open /dev/kvm: permission denied (EACCES); join group kvm",
    );
    try {
      throwErrno("open", 13);
    } catch (error) {
      expect(error).toMatchObject({ code: "SYSCALL_FAILED", syscall: "open", errno: 13, errnoName: "EACCES" });
    }
  });
});

it("throwIfAborted throws the reason", () => {
  const reason = new Error("enough");
  expect(() => throwIfAborted(AbortSignal.abort(reason))).toThrow(reason);
  expect(() => throwIfAborted(new AbortController().signal)).not.toThrow();
  expect(() => throwIfAborted()).not.toThrow();
});
