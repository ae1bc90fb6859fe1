import { afterEach, expect, it } from "@jest/globals";
import { TIOCGWINSZ } from "./abi/terminal.js";
import { UFFDIO_API } from "./abi/userfaultfd.js";
import { eventfd } from "./eventfd.js";
import { liveFds } from "./fd.js";
import { IO, IOR, IOW, IOWR, ioctl, tryIoctl, tryIoctlInt, tryIoctlPtr } from "./ioctl.js";
import { write } from "./read-write.js";
import { socketpair } from "./sockets.js";

const FIONREAD = 0x541b;
afterEach(() => expect(liveFds()).toEqual([]));

it("builds request numbers as <asm-generic/ioctl.h> does", () => {
  expect(IO(0xae, 0x80)).toBe(0xae80);
  expect(IOWR(0xaa, 0x3f, 24)).toBe(UFFDIO_API);
  expect(IOW(0xae, 0x46, 32)).toBe(0x4020ae46);
  expect(IOR("T", 0x30, 4)).toBe(0x80045430);
  expect(() => IOR("T", 256, 4)).toThrow("nr");
});

it("passes pointers and returns results", () => {
  const [a, b] = socketpair();
  write(a, new Uint8Array(5));
  const count = new Int32Array(1);
  expect(ioctl(b, FIONREAD, count, "FIONREAD")).toBe(0);
  expect(count[0]).toBe(5);
  count[0] = 0;
  expect(tryIoctlPtr(b.raw, FIONREAD, count)).toBe(0);
  expect(count[0]).toBe(5);
  a.close();
  b.close();
});

it("names the request in errors, or returns the negative error number", () => {
  using fd = eventfd();
  expect(() => ioctl(fd, TIOCGWINSZ, new Uint8Array(8), "TIOCGWINSZ")).toThrow(
    expect.objectContaining({
      syscall: "ioctl TIOCGWINSZ",
      errnoName: "ENOTTY",
      message: "ioctl TIOCGWINSZ eventfd: inappropriate ioctl for device (ENOTTY)",
    }),
  );
  expect(tryIoctlInt(fd.raw, TIOCGWINSZ, 0)).toBe(-25);
  expect(tryIoctlInt(fd.raw, TIOCGWINSZ, 0n)).toBe(-25);
  expect(tryIoctl(fd.raw, TIOCGWINSZ, 0xffff_f000n)).toBe(-25);
  expect(tryIoctlPtr(99999, 0xc0045400, new Uint8Array(8))).toBe(-9);
});

it("refuses arguments that koffi would misread", () => {
  using fd = eventfd();
  for (const wrong of ["text", 1.5, null, {}, new ArrayBuffer(8)]) {
    expect(() => ioctl(fd, 1, wrong as never, "X")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  }
  expect(() => ioctl(fd, -1, 0, "X")).toThrow("request");
});
