import { fstatSync } from "node:fs";
import { afterEach, expect, it } from "@jest/globals";
import { runChild } from "../test/child.js";
import { eventfd } from "./eventfd.js";
import { getCloexec } from "./fcntl.js";
import { dupFd, Fd, liveFds, rawFd } from "./fd.js";

afterEach(() => expect(liveFds()).toEqual([]));

it("closes once, and refuses to be used afterwards", () => {
  const fd = eventfd({ name: "counter" });
  const { raw } = fd;
  expect(liveFds()).toEqual([{ raw, name: "counter" }]);
  fd.close();
  fd.close();
  expect(fd.closed).toBe(true);
  expect(() => fstatSync(raw)).toThrow("EBADF");
  expect(() => fd.raw).toThrow(
    expect.objectContaining({ code: "FD_CLOSED", message: "counter: the descriptor is closed" }),
  );
  expect(() => fd.release()).toThrow(expect.objectContaining({ code: "FD_CLOSED" }));
});

it("release gives up ownership without closing", () => {
  const fd = eventfd();
  const raw = fd.release();
  fd.close();
  expect(fstatSync(raw)).toBeDefined();
  Fd.adopt(raw, "again").close();
  expect(() => fstatSync(raw)).toThrow("EBADF");
});

it("dup is a second owner, close-on-exec", () => {
  const fd = eventfd();
  const { raw } = fd;
  const second = fd.dup("second");
  const third = dupFd(fd.raw);
  fd.close();
  expect(getCloexec(second)).toBe(true);
  expect([second.name, third.name]).toEqual(["second", `fd ${raw}`]);
  second.close();
  third.close();
});

it("a using block closes it", () => {
  let raw: number;
  {
    using fd = eventfd();
    raw = fd.raw;
  }
  expect(() => fstatSync(raw)).toThrow("EBADF");
});

it("closing a number that somebody else closed is an error", () => {
  const fd = eventfd();
  const thief = Fd.adopt(fd.raw, "thief");
  thief.close();
  expect(() => fd.close()).toThrow(expect.objectContaining({ errnoName: "EBADF" }));
});

it("refuses what is not a descriptor number", () => {
  for (const wrong of [-1, 1.5, undefined, "3", 2 ** 31]) {
    expect(() => rawFd(wrong as never)).toThrow();
    expect(() => Fd.adopt(wrong as never, "x")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  }
});

it("running out of descriptors is EMFILE, and leaks none", () => {
  const { stdout, status } = runChild(
    `const all = [];
     try { for (;;) all.push(L.eventfd()); } catch (e) { console.log(e.code, e.errnoName, e.syscall); }
     const n = all.length;
     for (const fd of all) fd.close();
     console.log(n > 10, L.liveFds().length);`,
    ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"],
  );
  expect({ status, stdout }).toEqual({ status: 0, stdout: "SYSCALL_FAILED EMFILE eventfd\ntrue 0\n" });
});
