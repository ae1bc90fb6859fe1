import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { CpioWriter, parseTap, readTar, TestbedError, writeTar } from "../src/index.js";
import { decodeLz4Legacy } from "../src/lz4.js";
import { SerialLines } from "../src/serial.js";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "baton-testbed-test-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("TAP", () => {
  test("subtests, directives, diagnostics and foreign lines are read", () => {
    const tap = parseTap([
      "booting",
      "TAP version 13",
      "# Subtest: group",
      "    ok 1 - inner # SKIP not here",
      "    not ok 2 - broken \\# one",
      "      ---",
      "      error: 'boom'",
      "      ...",
      "    1..2",
      "not ok 1 - group",
      "ok 2 - later # TODO finish",
      "# a remark",
      "1..2",
    ]);
    expect(tap.problems).toEqual([]);
    expect(tap.ok).toBe(false);
    expect(tap.tests).toEqual([
      { ok: true, name: "group > inner", skip: "not here", depth: 1, diagnostics: "" },
      { ok: false, name: "group > broken # one", depth: 1, diagnostics: "      error: 'boom'" },
      { ok: false, name: "group", depth: 0, diagnostics: "" },
      { ok: true, name: "later", todo: "finish", depth: 0, diagnostics: "# a remark" },
    ]);
  });

  test.each([
    [["ok 1 - a"], "no plan"],
    [["1..2", "ok 1 - a"], "promises 2 tests, 1 reported"],
    [["1..1", "ok 1 - a", "Bail out! no disk"], "Bail out! no disk"],
    [["1..1", "ok 1 - a", "    ok 1 - orphan"], "inside a group"],
  ])("an incomplete stream is not ok: %j", (lines, problem) => {
    const tap = parseTap(lines);
    expect(tap.ok).toBe(false);
    expect(tap.problems.join()).toContain(problem);
  });
});

test("serial output loses carriage returns and terminal escapes, and keeps UTF-8 that comes in pieces", () => {
  const lines: string[] = [];
  const serial = new SerialLines((line) => void lines.push(line));
  const bytes = Buffer.from("\x1bc\x1b[?7l\x1b[2JSeaBIOS\r\n\x1b[0mok 1 - grün\r\nrest");
  for (const byte of bytes) serial.push(Buffer.from([byte]));
  serial.end();
  expect(lines).toEqual(["SeaBIOS", "ok 1 - grün", "rest"]);
});

describe("LZ4", () => {
  // A literal run, an overlapping match (a run of one byte), and last literals.
  const block = Buffer.from([0x1f, 0x61, 0x01, 0x00, 0x05, 0x50, 0x62, 0x63, 0x64, 0x65, 0x66]);
  const frame = Buffer.concat([Buffer.from([0x02, 0x21, 0x4c, 0x18, block.length, 0, 0, 0]), block]);

  test("a legacy frame is decoded", () => {
    expect(decodeLz4Legacy(frame, 30).toString()).toBe(`${"a".repeat(25)}bcdef`);
  });

  test("bad data is refused", () => {
    const farMatch = Buffer.from(frame);
    farMatch[10] = 9;
    for (const [bytes, size] of [
      [frame, 31],
      [frame, 20],
      [farMatch, 30],
      [frame.subarray(0, 12), 30],
      [Buffer.alloc(16), 30],
    ] as const) {
      expect(() => decodeLz4Legacy(bytes, size)).toThrow(TestbedError);
    }
  });
});

test("tar: what is written is read again, by this reader and by tar(1)", async () => {
  const archive = join(directory, "a.tar");
  const long = `${"long/".repeat(30)}name`;
  const files = [
    { path: "plain", from: Buffer.from("x".repeat(513)) },
    { path: long, from: Buffer.from("deep"), mode: 0o755 },
    { path: "empty", from: Buffer.alloc(0) },
  ];
  await writeTar(archive, files);
  const expected = new Map(files.map(({ path, from }) => [path, from]));
  expect(await readTar(archive)).toEqual(expected);
  execFileSync("tar", ["xf", archive, "-C", directory]);
  expect(await readFile(join(directory, long), "utf8")).toBe("deep");
  expect((await stat(join(directory, long))).mode & 0o777).toBe(0o755);
  execFileSync("tar", ["cf", join(directory, "b.tar"), "-C", directory, "plain", long, "empty"]);
  expect(await readTar(join(directory, "b.tar"))).toEqual(expected);
});

test("tar: an archive cut short is refused", async () => {
  const archive = join(directory, "c.tar");
  await writeTar(archive, [{ path: "plain", from: Buffer.alloc(2000) }]);
  await writeFile(archive, (await readFile(archive)).subarray(0, 1000));
  await expect(readTar(archive)).rejects.toMatchObject({ code: "ARCHIVE_INVALID" });
  await expect(writeTar(archive, [{ path: "x", from: "/absent" }])).rejects.toMatchObject({ code: "FILE_MISSING" });
});

test("cpio: what is written is unpacked by busybox", async () => {
  const path = join(directory, "a.cpio");
  const image = await CpioWriter.create(path);
  await image.file("/deep/er/file", "content", 0o755);
  await image.symlink("link", "deep/er/file");
  await image.directory("deep/empty");
  await image.close();
  const list = execFileSync("sh", ["-c", `cd ${directory} && busybox cpio -i -d <a.cpio 2>/dev/null && cat link`]);
  expect(list.toString()).toBe("content");
  expect((await stat(join(directory, "deep/er/file"))).mode & 0o777).toBe(0o755);
  expect((await stat(join(directory, "deep/empty"))).isDirectory()).toBe(true);
});
