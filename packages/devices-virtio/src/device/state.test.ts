import { expect, it } from "@jest/globals";
import { StateReader } from "./state.js";

it.each([[null], [{ toString: null }], [Symbol("s")], ["1"], [1.5], [Number.NaN], [-1], [undefined]])(
  "names the field whose value is no number in range: %p",
  (value) => {
    const reader = new StateReader("disk", { size: value }, "device");
    const error = { code: "DEVICE_STATE", message: expect.stringContaining("device/size") };
    expect(() => reader.integer("size", 0, 9)).toThrow(expect.objectContaining(error));
    expect(() => reader.bits("size")).toThrow(expect.objectContaining(error));
    expect(() => reader.boolean("size")).toThrow(expect.objectContaining(error));
  },
);
