import { spawnSync } from "node:child_process";
import { describe, expect, test } from "@jest/globals";
import { type GuestName, guestExit, guestPath, parseTickerSummary } from "../src/index.js";
import { qemuAbsence, qemuKvmAbsence, qemuProgram } from "./support/qemu.js";

/** Runs a guest under QEMU's microvm machine; gives its console output and what it wrote to the debug-exit port. */
function run(accelerator: string, guest: GuestName, cmdline: string): { output: string; exit: number } {
  const machine = ["-M", "microvm,acpi=off", "-accel", accelerator, "-m", "256", "-no-reboot"];
  const quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"];
  const exit = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"];
  const image = ["-kernel", guestPath(guest), "-append", cmdline];
  const child = spawnSync(qemuProgram, [...machine, ...quiet, ...exit, ...image], {
    timeout: 50_000,
    encoding: "latin1",
  });
  return { output: child.stdout, exit: ((child.status ?? 0) - 1) / 2 };
}

const accelerators = [
  { name: "tcg", absent: qemuAbsence() },
  { name: "kvm", absent: qemuKvmAbsence() },
];

describe.each(accelerators)("under QEMU with $name$absent", ({ name, absent }) => {
  const check = absent === "" ? test : test.skip;

  check("hello greets, counts and ends", () => {
    const { output, exit } = run(name, "hello", "primes=10000");
    expect(output).toContain("Hello from a guest of Baton.");
    expect(output).toContain("There are 1229 primes below 10000.");
    expect(exit).toBe(guestExit.EXIT_OK);
  });

  check.each([
    ["waiting in HLT", "rate=200 mix=1"],
    ["waiting at CPL3, spinning at both levels, one-shot timer", "rate=200 mix=6 timer=1"],
    ["at CPL0 alone", "rate=200 mix=5 level=0"],
    ["going around its slots and pages", "rate=0 slots=64 pages=3 dot=0"],
  ])("ticker loses nothing %s", (_, options) => {
    const { output, exit } = run(name, "ticker", `ticks=200 print=5 ${options}`);
    const lines = output.split("\n").map((line) => line.replace(/^\.+/, ""));
    expect(lines.filter((line) => /^T[0-9a-f]+$/.test(line))).toEqual(["T20", "T40", "T60", "T80", "Ta0", "Tc0"]);
    const summary = parseTickerSummary(output);
    expect(summary).toMatchObject({ ticks: 200, irq: 0, msi: 0, bad: 0 });
    if (!options.includes("rate=0")) expect(summary?.lapic).toBeGreaterThanOrEqual(200);
    expect(exit).toBe(guestExit.EXIT_OK);
  });

  check("ticker refuses parameters that it cannot use", () => {
    expect(run(name, "ticker", "slots=3").exit).toBe(guestExit.EXIT_ARGUMENT);
  });

  check.each([0, 3])("exits counts its round trips at CPL%i", (level) => {
    const { output, exit } = run(name, "exits", `pio=100 mmio=100 level=${level}`);
    const found = [...output.matchAll(/exits: (\S+) n=64 tsc=[1-9a-f][0-9a-f]*/g)].map(([, kind]) => kind);
    expect(found).toEqual(["pio-out", "pio-in", "mmio-out", "mmio-in"]);
    expect(exit).toBe(guestExit.EXIT_OK);
  });

  check("hostile ends as its modes say", () => {
    expect(run(name, "hostile", "mode=triple").output).not.toContain("done");
    expect(run(name, "hostile", "mode=nothing").exit).toBe(guestExit.EXIT_ARGUMENT);
    const mmio = run(name, "hostile", "mode=mmio step=257");
    expect(mmio.output).toContain("hostile: done");
    expect(mmio.exit).toBe(guestExit.EXIT_OK);
  });
});
