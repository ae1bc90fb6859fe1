import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bootId, getpid, processStartTime } from "@baton/linux";
import { afterAll, beforeEach, describe, expect, test } from "@jest/globals";
import { readEntry, type VmEntry, writeEntry } from "./entry.js";
import { checkRuntimeDirectory, makeRuntimeDirectory, runtimeDirectoryPath } from "./location.js";
import { findVm, listVms } from "./lookup.js";
import { Registration } from "./registration.js";

const scratch = mkdtempSync(join(tmpdir(), "baton-runtime-"));
afterAll(() => rmSync(scratch, { recursive: true }));
let parent: string;
let count = 0;
beforeEach(() => {
  parent = join(scratch, `dir-${++count}`);
});

const coded = (code: string, message = "") =>
  expect.objectContaining({ code, message: expect.stringContaining(message) });

/** This process's entry, changed, as another might have left it. */
function leave(name: string, change: Partial<VmEntry> = {}): void {
  makeRuntimeDirectory(parent);
  mkdirSync(join(parent, name), { mode: 0o700 });
  const own = { name, pid: getpid(), startTime: processStartTime(getpid()) as bigint, bootId: bootId() };
  writeEntry(join(parent, name), { ...own, since: 1, sockets: {}, ...change });
  writeFileSync(join(parent, name, "qmp.sock"), "");
}

describe("a registration", () => {
  test("is found by name, with what it publishes, until it is closed", () => {
    expect(listVms(parent)).toEqual([]);
    expect(existsSync(parent)).toBe(false);
    const web = Registration.take("web", parent);
    const db = Registration.take("db.1", parent);
    expect(statSync(parent).mode & 0o777).toBe(0o700);
    expect(statSync(join(parent, "web")).mode & 0o777).toBe(0o700);
    expect(listVms(parent).map(({ name, pid, sockets }) => [name, pid, sockets])).toEqual([
      ["db.1", getpid(), {}],
      ["web", getpid(), {}],
    ]);
    web.publish({ qmp: web.path("qmp.sock") });
    expect(findVm("web", parent).sockets).toEqual({ qmp: join(parent, "web", "qmp.sock") });
    web.close();
    web.close();
    db.close();
    expect(() => findVm("web", parent)).toThrow(coded("VM_NOT_FOUND", "'web'"));
    expect(readdirSync(parent)).toEqual([".lock"]);
  });

  test("refuses the name of a VM that runs, and leaves that one as it is", () => {
    const first = Registration.take("web", parent);
    first.publish({ qmp: "/x" });
    expect(() => Registration.take("web", parent)).toThrow(coded("NAME_IN_USE", `process ${getpid()}`));
    expect(findVm("web", parent).sockets).toEqual({ qmp: "/x" });
    first.close();
  });

  test.each([
    ["has died", { pid: 0x7ffffffe }],
    ["had the process id of one that lives", { startTime: 1n }],
    ["ran before the host was started again", { bootId: "another" }],
  ])("takes over the name of a process that %s", (_, change) => {
    leave("web", change);
    const registration = Registration.take("web", parent);
    expect(readdirSync(join(parent, "web"))).toEqual(["vm.json"]);
    expect(findVm("web", parent).pid).toBe(getpid());
    registration.close();
  });

  test("does not remove an entry that another has put in its place", () => {
    const registration = Registration.take("web", parent);
    rmSync(join(parent, "web"), { recursive: true });
    leave("web", { pid: 1, startTime: processStartTime(1) as bigint });
    registration.close();
    expect(findVm("web", parent).pid).toBe(1);
  });

  test.each(["", ".", "..", "a/b", "../x", "-x", ".hidden", "a b", "a\n", "ü", "x".repeat(49)])(
    "refuses the name %j",
    (name) => {
      expect(() => Registration.take(name, parent)).toThrow(coded("NAME_INVALID"));
      expect(existsSync(parent)).toBe(false);
    },
  );
});

describe("a look into the directory", () => {
  test("removes what processes left that were killed, and lists those that live", async () => {
    const child = spawn("cat", { stdio: ["pipe", "ignore", "ignore"] });
    const pid = child.pid as number;
    leave("killed", { pid, startTime: processStartTime(pid) as bigint });
    expect(listVms(parent).map(({ name }) => name)).toEqual(["killed"]);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));
    expect(listVms(parent)).toEqual([]);
    expect(existsSync(join(parent, "killed"))).toBe(false);
  });

  test.each([
    ["no JSON", "{"],
    ["no object", "null"],
    ["another version", '{"version":2}'],
    ["a wrong process id", '{"version":1,"name":"odd","pid":-1}'],
    ["far too much", `${" ".repeat(70_000)}{}`],
  ])("passes by what is %s, and leaves it", (_, text) => {
    makeRuntimeDirectory(parent);
    mkdirSync(join(parent, "odd"));
    writeFileSync(join(parent, "odd", "vm.json"), text);
    expect(listVms(parent)).toEqual([]);
    expect(readEntry(join(parent, "odd"))).toBeUndefined();
    expect(existsSync(join(parent, "odd", "vm.json"))).toBe(true);
  });

  test("passes by an entry under another name", () => {
    leave("odd", { name: "even" });
    expect(listVms(parent)).toEqual([]);
  });
});

describe("the directory", () => {
  test("is the user's own below XDG_RUNTIME_DIR, or one that the user's id names", () => {
    const uid = process.getuid?.() as number;
    expect(runtimeDirectoryPath({ xdgRuntimeDir: scratch, uid })).toBe(join(scratch, "baton"));
    for (const xdgRuntimeDir of [undefined, "", "relative", join(scratch, "absent")]) {
      expect(runtimeDirectoryPath({ xdgRuntimeDir, uid: 0 })).toBe("/run/baton");
      expect(runtimeDirectoryPath({ xdgRuntimeDir, uid: 7 })).toBe("/tmp/baton-7");
    }
    expect(runtimeDirectoryPath({ xdgRuntimeDir: scratch, uid: uid + 1 })).toBe(`/tmp/baton-${uid + 1}`);
  });

  test("is refused where others may enter it, own it, or put a link in its place", () => {
    mkdirSync(parent);
    chmodSync(parent, 0o750);
    expect(() => Registration.take("web", parent)).toThrow(coded("RUNTIME_DIRECTORY", "mode 750"));
    expect(() => listVms(parent)).toThrow(coded("RUNTIME_DIRECTORY"));
    chmodSync(parent, 0o700);
    const uid = process.getuid?.() as number;
    expect(() => checkRuntimeDirectory(parent, uid + 1)).toThrow(coded("RUNTIME_DIRECTORY", `user ${uid}`));
    symlinkSync(parent, `${parent}-link`);
    expect(() => Registration.take("web", `${parent}-link`)).toThrow(coded("RUNTIME_DIRECTORY", "no directory"));
    expect(() => makeRuntimeDirectory(join(parent, "absent", "below"))).toThrow(coded("RUNTIME_DIRECTORY", "ENOENT"));
    expect(readdirSync(parent)).toEqual([]);
  });
});
