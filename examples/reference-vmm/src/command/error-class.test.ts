import { BatonError } from "@baton/linux";
import { describe, expect, test } from "@jest/globals";
import { describeError, errorClass } from "./error-class.js";

describe("error classes", () => {
  test.each([
    ["COMMAND_NOT_FOUND", "CommandNotFound"],
    ["DEVICE_NOT_FOUND", "DeviceNotFound"],
    ["DEVICE_NOT_ACTIVE", "DeviceNotActive"],
    ["KVM_CAPABILITY_MISSING", "KVMMissingCap"],
    ["PAUSE_TIMEOUT", "GenericError"],
    ["toString", "GenericError"],
  ])("%s is %s", (code, name) => {
    expect(errorClass(code)).toBe(name);
  });

  test("descriptions are one line without a full stop", () => {
    expect(describeError(new BatonError("X", "It broke\n  in two.", { hint: "mend it" }))).toEqual({
      class: "GenericError",
      desc: "It broke in two.; mend it",
    });
    expect(describeError(new TypeError("No such thing."))).toEqual({ class: "GenericError", desc: "No such thing" });
    expect(describeError("text")).toEqual({ class: "GenericError", desc: "text" });
  });
});
