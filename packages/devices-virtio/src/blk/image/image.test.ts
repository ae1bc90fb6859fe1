import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addressOf, type Fd, IoVector, O_RDONLY, O_RDWR, open } from "@baton/linux";
import { afterAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { rounds } from "../../../../../test/rounds.js";
import { type OpenedImage, openImageFiles } from "./files.js";
import type { BlockImage } from "./image.js";
import { openImage } from "./open.js";
import { OVERLAY_CLUSTER } from "./overlay-format.js";

const directory = mkdtempSync(join(tmpdir(), "baton-image-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const opening = (_name: string, _id: string, make: () => Fd) => make();

/** Opens a disk's files and makes its image; `close` ends both. */
function disk(
  path: string,
  options: { overlay?: string; readOnly?: boolean; direct?: boolean; shared?: boolean } = {},
) {
  const { readOnly = false, direct = false, shared = false } = options;
  const opened: OpenedImage = openImageFiles({ id: "d", path, ...options, readOnly, direct, shared }, opening);
  const image = openImage(opened.image);
  return {
    image,
    /** As a crash leaves it: nothing is flushed. */
    drop() {
      for (const fd of opened.fds) fd.close();
    },
    close() {
      image.flush();
      for (const fd of opened.fds) fd.close();
    },
  };
}

/** Cuts bytes into uneven pieces, so that the image has to go through several. */
function vector(bytes: Uint8Array): IoVector {
  const into = new IoVector();
  for (let at = 0, step = 3; at < bytes.length; at += step, step = step * 5 + 1) {
    into.add(Number(addressOf(bytes)) + at, Math.min(step, bytes.length - at));
  }
  return into;
}

const write = (image: BlockImage, offset: number, bytes: Uint8Array) => image.write(vector(bytes), offset);

function read(image: BlockImage, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xee);
  expect(image.read(vector(bytes), offset)).toBe(0);
  return bytes;
}

function file(name: string, content: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const SIZE = 5 * OVERLAY_CLUSTER + 3 * 512;

/** What both kinds of images must do, against a plain array of bytes. */
const operation = fc.oneof(
  fc.record({
    kind: fc.constantFrom("write" as const, "zero" as const, "discard" as const),
    sector: fc.nat(SIZE / 512 - 1),
    sectors: fc.integer({ min: 1, max: 300 }),
    byte: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({ kind: fc.constant("reopen" as const) }),
);

describe.each(["raw", "overlay"])("%s images", (kind) => {
  let count = 0;
  const base = new Uint8Array(SIZE).map((_, i) => (i >>> 9) + 1);

  it("read what was written, whatever came before", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
        const path = file(`${kind}-${count}.img`, base);
        const overlay = join(directory, `${kind}-${count++}.ovl`);
        const reopen = () => disk(path, kind === "overlay" ? { overlay } : {});
        const model = base.slice();
        let opened = reopen();
        for (const step of operations) {
          if (step.kind === "reopen") {
            opened.close();
            opened = reopen();
            continue;
          }
          const offset = step.sector * 512;
          const length = Math.min(step.sectors * 512, SIZE - offset);
          if (step.kind === "write") {
            expect(write(opened.image, offset, new Uint8Array(length).fill(step.byte))).toBe(0);
            model.fill(step.byte, offset, offset + length);
          } else if (step.kind === "zero") {
            expect(opened.image.writeZeroes(offset, length, true)).toBe(0);
            model.fill(0, offset, offset + length);
          } else {
            expect(opened.image.discard(offset, length)).toBe(0);
            // What was discarded may read as anything: it is written anew.
            expect(write(opened.image, offset, model.slice(offset, offset + length))).toBe(0);
          }
        }
        expect(Buffer.compare(read(opened.image, 0, SIZE), model)).toBe(0);
        opened.close();
        if (kind === "overlay") expect(Buffer.compare(readFileSync(path), base)).toBe(0);
        rmSync(path);
        rmSync(overlay, { force: true });
      }),
      { numRuns: rounds({ quick: 25, full: 2500 }) },
    );
  });

  it("can be made larger while they are open", () => {
    const path = file(`${kind}-size.img`, base);
    const overlay = join(directory, `${kind}-size.ovl`);
    const opened = disk(path, kind === "overlay" ? { overlay } : {});
    const size = SIZE + OVERLAY_CLUSTER;
    expect(opened.image.resize(size)).toBe(size);
    expect(write(opened.image, size - 512, new Uint8Array(512).fill(9))).toBe(0);
    opened.close();
    const again = disk(path, kind === "overlay" ? { overlay } : {});
    expect(again.image.size).toBe(size);
    expect(read(again.image, size - 1024, 1024)).toEqual(
      Uint8Array.from({ length: 1024 }, (_, i) => (i < 512 ? 0 : 9)),
    );
    again.close();
  });
});

describe("an overlay", () => {
  it("takes little space, and lets others share its base", () => {
    const path = file("shared.img", new Uint8Array(1 << 20).fill(1));
    const overlays = [join(directory, "a.ovl"), join(directory, "b.ovl")];
    const disks = overlays.map((overlay) => disk(path, { overlay }));
    for (const [i, { image }] of disks.entries()) expect(write(image, 0, new Uint8Array(512).fill(10 + i))).toBe(0);
    for (const [i, { image }] of disks.entries()) expect(read(image, 0, 1024)[0]).toBe(10 + i);
    for (const opened of disks) opened.close();
    for (const overlay of overlays) expect(statSync(overlay).blocks * 512).toBeLessThan(200_000);
  });

  it("keeps each cluster old or new when it is dropped without a flush", () => {
    const path = file("crash.img", new Uint8Array(4 * OVERLAY_CLUSTER).fill(1));
    const overlay = join(directory, "crash.ovl");
    const first = disk(path, { overlay });
    expect(write(first.image, 512, new Uint8Array(512).fill(2))).toBe(0);
    expect(first.image.flush()).toBe(0);
    expect(write(first.image, 2 * OVERLAY_CLUSTER, new Uint8Array(512).fill(3))).toBe(0);
    first.drop();
    const second = disk(path, { overlay });
    expect(read(second.image, 512, 512)[0]).toBe(2);
    expect([1, 3]).toContain(read(second.image, 2 * OVERLAY_CLUSTER, 512)[0]);
    second.close();
  });

  it("is refused over a base that has changed", () => {
    const path = file("changed.img", new Uint8Array(OVERLAY_CLUSTER));
    const overlay = join(directory, "changed.ovl");
    disk(path, { overlay }).close();
    utimesSync(path, 1, 1);
    expect(() => disk(path, { overlay })).toThrow(expect.objectContaining({ code: "OVERLAY_BASE" }));
  });

  it.each([
    ["magic", 0, /does not begin with BATONOVL/],
    ["version", 8, /its version is/],
    ["size", 17, /checksum of its header/],
    ["checksum", 56, /checksum of its header/],
  ])("is refused with a wrong %s", (_, at, message) => {
    const path = file("broken.img", new Uint8Array(OVERLAY_CLUSTER));
    const overlay = join(directory, `broken-${at}.ovl`);
    disk(path, { overlay }).close();
    const bytes = readFileSync(overlay);
    bytes[at] = (bytes[at] as number) ^ 0x40;
    writeFileSync(overlay, bytes);
    expect(() => disk(path, { overlay })).toThrow(
      expect.objectContaining({ code: "OVERLAY_FORMAT", message: expect.stringMatching(message) }),
    );
  });

  it("is refused when it is cut short", () => {
    const path = file("short.img", new Uint8Array(OVERLAY_CLUSTER));
    const overlay = join(directory, "short.ovl");
    disk(path, { overlay }).close();
    truncateSync(overlay, 20);
    expect(() => disk(path, { overlay })).toThrow(expect.objectContaining({ code: "OVERLAY_FORMAT" }));
  });
});

describe("opening an image", () => {
  const path = file("lock.img", new Uint8Array(4096));

  it("locks it: one writer, or any number of readers", () => {
    const writer = disk(path);
    const locked = expect.objectContaining({ code: "IMAGE_LOCKED", message: expect.stringContaining(path) });
    expect(() => disk(path)).toThrow(locked);
    expect(() => disk(path, { readOnly: true })).toThrow(locked);
    disk(path, { shared: true }).close();
    writer.close();
    const readers = [disk(path, { readOnly: true }), disk(path, { readOnly: true })];
    expect(() => disk(path)).toThrow(locked);
    for (const reader of readers) reader.close();
    disk(path).close();
  });

  it.each([
    [join(directory, "none.img"), "IMAGE_OPEN", /ENOENT/],
    [directory, "IMAGE_OPEN", /EISDIR|neither a file/],
    ["/dev/null", "IMAGE_OPEN", /neither a file nor a block device/],
  ])("refuses %s", (what, code, message) => {
    expect(() => disk(what)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });

  it("reads a file that ends within its last sector as if it went on with zeroes", () => {
    const odd = file("odd.img", new Uint8Array(1024 + 100).fill(5));
    const opened = disk(odd);
    expect(opened.image.size).toBe(1024);
    truncateSync(odd, 700);
    const bytes = read(opened.image, 512, 512);
    expect([bytes[187], bytes[188], bytes[511]]).toEqual([5, 0, 0]);
    opened.close();
  });

  it("goes past the page cache where asked to, also for buffers that are not aligned", () => {
    // Of a file system that has direct I/O: the repository's.
    const here = mkdtempSync(join(process.cwd(), "temp-direct-"));
    try {
      const direct = join(here, "direct.img");
      writeFileSync(direct, new Uint8Array(65536).fill(4));
      const opened = disk(direct, { direct: true });
      expect(write(opened.image, 512, new Uint8Array(1024).fill(6))).toBe(0);
      expect([...read(opened.image, 0, 2048).filter((_, i) => i % 512 === 0)]).toEqual([4, 6, 6, 4]);
      opened.close();
    } finally {
      rmSync(here, { recursive: true });
    }
  });

  it("reports what the host cannot do as its error number", () => {
    using readOnly = open(path, O_RDONLY);
    const image = openImage({ kind: "raw", fd: readOnly.raw, bufferedFd: -1 });
    expect(write(image, 0, new Uint8Array(512))).toBe(-9);
    expect(image.writeZeroes(0, 512, true)).toBe(-9);
    using full = open("/dev/full", O_RDWR);
    const fullImage = openImage({ kind: "raw", fd: full.raw, bufferedFd: -1 });
    expect(write(fullImage, 0, new Uint8Array(512))).toBe(-28);
  });
});
