import { describe, expect, it } from "@jest/globals";
import { acpiGed, gedLayout, pressPowerButton } from "./acpi-ged.js";
import { debugExit } from "./debug-exit.js";
import { i8042 } from "./i8042.js";
import { pvpanic } from "./pvpanic.js";
import { TestContext } from "./testing/context.js";

const DATA = 0;
const COMMAND = 4;

describe("the i8042", () => {
  const controller = () => {
    const context = new TestContext(new SharedArrayBuffer(16));
    return { device: i8042(context), events: context.events };
  };

  it("resets the machine on command 0xfe and by the output port's reset line", () => {
    const { device, events } = controller();
    device.write(COMMAND, 1, 0xfe);
    device.write(COMMAND, 1, 0xd1);
    device.write(DATA, 1, 0x02);
    expect(events).toEqual(Array(2).fill({ device: "i8042", name: "reset", pause: true }));
  });

  it("does not take later bytes for the output port", () => {
    const { device, events } = controller();
    device.write(COMMAND, 1, 0xd1);
    device.write(DATA, 1, 0xdf);
    device.write(DATA, 1, 0x00);
    device.write(COMMAND, 1, 0x60);
    device.write(DATA, 1, 0x00);
    expect(events).toEqual([]);
  });

  it.each([
    ["itself", 0xaa, 0x55],
    ["the absent keyboard", 0xab, 0x01],
    ["the absent mouse", 0xa9, 0x01],
  ])("answers the test of %s", (_, command, answer) => {
    const { device } = controller();
    expect(device.read(COMMAND, 1) & 3).toBe(0);
    device.write(COMMAND, 1, command);
    expect(device.read(COMMAND, 1) & 3).toBe(1);
    expect(device.read(DATA, 1)).toBe(answer);
    expect(device.read(COMMAND, 1) & 3).toBe(0);
  });
});

describe("the generic event device", () => {
  const ged = () => {
    const context = new TestContext(new SharedArrayBuffer(8), { device: "ged" });
    return { context, device: acpiGed(context) };
  };
  const REGISTERS = 0x200;

  it("tells of the power button once, and lowers its line", () => {
    const { context, device } = ged();
    pressPowerButton(context.shared, context.setIrq);
    pressPowerButton(context.shared, context.setIrq);
    expect(device.read(0, 4)).toBe(2);
    expect(device.read(0, 4)).toBe(0);
    expect(context.lines).toEqual(["9:1", "9:1", "9:0", "9:0"]);
  });

  it("powers off for sleep type 5 with the enable bit alone, and resets for its value alone", () => {
    const { context, device } = ged();
    const sleep = REGISTERS + gedLayout.sleepControl;
    const reset = REGISTERS + gedLayout.reset;
    for (const value of [5 << 2, (4 << 2) | 0x20, 0]) device.write(sleep, 1, value);
    for (const value of [0, 0x41, 0xff]) device.write(reset, 1, value);
    expect(context.events).toEqual([]);
    device.write(sleep, 1, (5 << 2) | 0x20);
    device.write(reset, 1, 0x42);
    expect(context.events).toEqual([
      { device: "ged", name: "poweroff", pause: true },
      { device: "ged", name: "reset", pause: true },
    ]);
  });
});

describe("debug exit and pvpanic", () => {
  it("turns what is written into QEMU's exit code", () => {
    const context = new TestContext(new SharedArrayBuffer(0));
    const device = debugExit(context);
    for (const value of [0, 0x10, 0xff]) device.write(0, 1, value);
    expect(context.events.map((event) => event.data)).toEqual([1, 33, 255]);
    expect(context.events.every((event) => event.pause)).toBe(true);
  });

  it("tells a panic, which stops the vCPU, from a crash kernel that takes over", () => {
    const context = new TestContext(new SharedArrayBuffer(0));
    const device = pvpanic(context);
    expect(device.read(0, 1)).toBe(3);
    for (const value of [1, 2, 3, 0, 0xf8]) device.write(0, 1, value);
    expect(context.events.map(({ name, pause }) => [name, pause])).toEqual([
      ["panicked", true],
      ["crash-loaded", false],
      ["panicked", true],
    ]);
  });
});
