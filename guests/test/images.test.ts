import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "@jest/globals";
import {
  exitsKind,
  exitsLayout,
  guestExit,
  guestImage,
  guestLayout,
  guestNames,
  guestPorts,
  guestVectors,
  hostileMmio,
  hostileSkippedPorts,
  tickerLayout,
  tickerMix,
  tickerPhase,
  tickerStatus,
} from "../src/index.js";

const here = fileURLToPath(new URL("..", import.meta.url));

/** What the loader sees of an image: its segments, and where they go. The rest may differ between versions of ld. */
function segments(image: Buffer): { type: number; gpa: bigint; bytes: string }[] {
  const start = Number(image.readBigUInt64LE(32));
  return Array.from({ length: image.readUInt16LE(56) }, (_, index) => {
    const at = start + index * image.readUInt16LE(54);
    const offset = Number(image.readBigUInt64LE(at + 8));
    const size = Number(image.readBigUInt64LE(at + 32));
    const bytes = image.subarray(offset, offset + size).toString("hex");
    return { type: image.readUInt32LE(at), gpa: image.readBigUInt64LE(at + 24), bytes };
  });
}

/** The gcc that made the images of the guests in C; another one makes other code. */
const GCC_MAJOR = "12";

/** What a tool says to that word; undefined without the tool. */
function answer(tool: string, word: string): string | undefined {
  try {
    return execFileSync(tool, [word], { encoding: "latin1" }).trim();
  } catch {
    return undefined;
  }
}

const isInC = (name: string) => existsSync(join(here, "virtio", name));
const binutilsAbsence = ["as", "ld"].every((tool) => answer(tool, "--version")) ? "" : " (skipped: no as or ld)";
const gcc = answer("gcc", "-dumpversion")?.split(".")[0];
const gccAbsence =
  binutilsAbsence ||
  (gcc === GCC_MAJOR
    ? ""
    : ` (skipped: ${gcc === undefined ? "no gcc" : `gcc ${gcc}`}, the images are of gcc ${GCC_MAJOR})`);

/** All constants (`.equ NAME, value`) of an assembler source. */
function constants(path: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const [, name, text] of readFileSync(join(here, path), "utf8").matchAll(/^\s*\.equ (\w+),\s*([^#\n]*)/gm)) {
    const sum = text!.trim().split(/\s*\+\s*/);
    values.set(
      name!,
      sum.reduce((total, term) => total + (values.get(term) ?? Number(term)), 0),
    );
  }
  return values;
}

describe("the guests' images", () => {
  test.each(guestNames)("%s is small, loads at 1 MiB, and has a PVH note that names its entry", (name) => {
    const image = guestImage(name);
    expect(image.length).toBeLessThan(isInC(name) ? 65536 : 8192);
    const [load, note] = segments(image);
    expect(load).toMatchObject({ type: 1, gpa: BigInt(guestLayout.IMAGE) });
    const word = (value: number, bytes = 4): string =>
      Buffer.from([value])
        .toString("hex")
        .padEnd(2 * bytes, "0");
    const entry = Buffer.alloc(8);
    entry.writeBigUInt64LE(BigInt(guestLayout.IMAGE));
    expect(note).toMatchObject({ type: 4, bytes: `${word(4)}${word(8)}${word(18)}58656e00${entry.toString("hex")}` });
  });

  for (const { language, names, absence } of [
    { language: "assembler", names: guestNames.filter((name) => !isInC(name)), absence: binutilsAbsence },
    { language: "C", names: guestNames.filter(isInC), absence: gccAbsence },
  ]) {
    (absence === "" ? test : test.skip)(`are what build.mjs makes of the sources in ${language}${absence}`, () => {
      const directory = mkdtempSync(join(tmpdir(), "baton-guests-"));
      try {
        execFileSync(process.execPath, [join(here, "build.mjs"), directory, language === "C" ? "all" : "as"]);
        for (const name of names) {
          expect(segments(readFileSync(join(directory, `${name}.elf`)))).toEqual(segments(guestImage(name)));
        }
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    });
  }

  test("have the layout that the TypeScript constants tell", () => {
    const common = constants("lib/layout.inc");
    for (const group of [guestLayout, guestPorts, guestExit, guestVectors]) {
      for (const [name, value] of Object.entries(group)) expect([name, common.get(name)]).toEqual([name, value]);
    }
    const status = constants("lib/status.inc");
    for (const [name, value] of Object.entries(tickerLayout)) expect([name, status.get(name)]).toEqual([name, value]);
    for (const [name, value] of Object.entries(tickerPhase)) expect(status.get(`PHASE_${name}`)).toBe(value);
    // STATUS itself is defined in the other file, so the sums here are offsets.
    const words = readFileSync(join(here, "lib/status.inc"), "utf8").matchAll(/STATUS_(\w+),\s*STATUS \+ (0x\w+)/g);
    expect(new Map([...words].map(([, name, offset]) => [name, Number(offset)]))).toEqual(
      new Map(Object.entries(tickerStatus)),
    );
    const ticker = constants("ticker.S");
    for (const [name, value] of Object.entries(tickerMix)) expect(ticker.get(`MIX_${name}`)).toBe(value);
    const exits = constants("exits.S");
    for (const [name, value] of Object.entries({ ...exitsLayout, ...exitsKind })) expect(exits.get(name)).toBe(value);
    const hostile = constants("hostile.S");
    for (const [name, value] of Object.entries(hostileMmio)) expect(hostile.get(name)).toBe(value);
    const table = /skip_ranges:[^\n]*\n([\s\S]*?)skip_more:/.exec(readFileSync(join(here, "hostile.S"), "utf8"))![1]!;
    const ranges = [...table.matchAll(/\.long (\w+), (\w+)/g)].map(([, first, last]) => [Number(first), Number(last)]);
    expect(ranges).toEqual(hostileSkippedPorts);
  });
});
