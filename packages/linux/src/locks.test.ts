import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "@jest/globals";
import { output, startChild } from "../test/child.js";
import { O_CREAT, O_RDWR } from "./abi/file.js";
import { liveFds } from "./fd.js";
import { ftruncate, open } from "./files.js";
import { getOfdLock, setOfdLock } from "./locks.js";

let dir: string;
let path: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "baton-locks-"));
  path = join(dir, "disk");
});
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(() => expect(liveFds()).toEqual([]));

it("keeps another process out until it dies", async () => {
  using fd = open(path, O_RDWR | O_CREAT, 0o600);
  ftruncate(fd, 100);
  const child = startChild(`
    const fd = L.open(${JSON.stringify(path)}, L.O_RDWR);
    console.log(L.setOfdLock(fd, { type: "write", start: 10, length: 5n }));
    process.stdin.resume();`);
  expect(await output(child)).toBe("true\n");
  expect(setOfdLock(fd, { type: "write" })).toBe(false);
  expect(setOfdLock(fd, { type: "read", start: 14, length: 1 })).toBe(false);
  expect(setOfdLock(fd, { type: "write", start: 15 })).toBe(true);
  expect(getOfdLock(fd, { type: "read" })).toEqual({ type: "write", start: 10n, length: 5n, pid: -1 });
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(getOfdLock(fd, { type: "write" })).toBeNull();
  expect(setOfdLock(fd, { type: "write" })).toBe(true);
});

it("belongs to the open file: its duplicates share it, another opening does not", () => {
  const first = open(path, O_RDWR);
  const duplicate = first.dup();
  using other = open(path, O_RDWR);
  expect(setOfdLock(first, { type: "write" })).toBe(true);
  expect(setOfdLock(duplicate, { type: "write" })).toBe(true);
  first.close();
  expect(setOfdLock(other, { type: "read" })).toBe(false);
  duplicate.close();
  expect(setOfdLock(other, { type: "read" })).toBe(true);
});

it("an unlock through a duplicate drops it for all", () => {
  using first = open(path, O_RDWR);
  using duplicate = first.dup();
  using other = open(path, O_RDWR);
  setOfdLock(first, { type: "write" });
  setOfdLock(duplicate, { type: "unlock" });
  expect(setOfdLock(other, { type: "write" })).toBe(true);
});

it("waits where it is asked to", async () => {
  using fd = open(path, O_RDWR);
  setOfdLock(fd, { type: "write" });
  const child = startChild(`
    const fd = L.open(${JSON.stringify(path)}, L.O_RDWR);
    console.log(L.setOfdLock(fd, { type: "write" }));
    console.log(L.setOfdLock(fd, { type: "write", wait: true }));`);
  expect(await output(child)).toBe("false\n");
  setOfdLock(fd, { type: "unlock" });
  expect(await output(child)).toBe("true\n");
  await once(child, "exit");
});
