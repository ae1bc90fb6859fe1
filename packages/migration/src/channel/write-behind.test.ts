import { IoUring, IoVector, liveFds, memfdCreate, O_RDONLY, O_WRONLY, open, pread } from "@baton/linux";
import { RamBlock } from "@baton/memory";
import { afterAll, afterEach, expect, it } from "@jest/globals";
import { absence } from "../../../../test/absence.js";
import { openIncoming, openOutgoing, readStream, writeStream } from "../index.js";
import { Cancelled, DescriptorIo } from "./descriptor-io.js";
import { CANCELLED } from "./messages.js";
import { WriteBehind } from "./write-behind.js";

const absent = absence(() => IoUring.open());
const permitted = absent === "" ? it : it.skip;
afterEach(() => expect(liveFds()).toHaveLength(1));

const PAGE = 4096;
const memory = RamBlock.create({ id: "memory", size: 2n ** 16n });
afterAll(() => memory.close());

const control = new Int32Array(1);
const ioOf = (fd: number, position?: number) =>
  new DescriptorIo(
    { fd, address: "file:x", position, timeoutMs: 1000 },
    { cancelFd: -1, control, progress: new Float64Array(3) },
  );

/** Pages of the memory, of which each has a number of its own throughout. */
function pages(...numbers: number[]): IoVector {
  const vector = new IoVector();
  for (const number of numbers) {
    new Uint8Array(memory.view(number * PAGE, PAGE)).fill(number);
    vector.add(Number(memory.hva) + number * PAGE, PAGE);
  }
  return vector;
}

permitted(`writes one after the other, from its place on${absent}`, () => {
  using file = memfdCreate("file");
  const io = ioOf(file.raw, 100);
  const behind = WriteBehind.open(io) as WriteBehind;
  const vectors = [pages(1, 3), pages(5), pages(7, 9, 11)];
  for (const vector of vectors) behind.write(vector);
  behind.finish();
  behind.finish();
  behind.close();
  expect([vectors.map(({ count }) => count), io.position]).toEqual([[0, 0, 0], 100 + 6 * PAGE]);
  const written = Buffer.alloc(7 * PAGE);
  expect(pread(file, written, 0)).toBe(100 + 6 * PAGE);
  const parts = [Buffer.alloc(100), ...[1, 3, 5, 7, 9, 11].map((number) => Buffer.alloc(PAGE, number))];
  expect(written.subarray(0, 100 + 6 * PAGE).equals(Buffer.concat(parts))).toBe(true);
});

permitted(`says why something was not written, and ends what is under way${absent}`, () => {
  using full = open("/dev/full", O_WRONLY);
  using readonly = open("/proc/self/exe", O_RDONLY);
  for (const [fd, code] of [
    [full, "CHANNEL_DISK_FULL"],
    [readonly, "CHANNEL_IO"],
  ] as const) {
    const behind = WriteBehind.open(ioOf(fd.raw, 0)) as WriteBehind;
    behind.write(pages(1));
    expect(() => behind.write(pages(2))).toThrow(expect.objectContaining({ code }));
    behind.write(pages(3));
    behind.close();
  }
});

permitted(`begins nothing after a cancel${absent}`, () => {
  using file = memfdCreate("file");
  const behind = WriteBehind.open(ioOf(file.raw, 0)) as WriteBehind;
  control[0] = CANCELLED;
  expect(() => behind.write(pages(1))).toThrow(Cancelled);
  control[0] = 0;
  behind.close();
  expect(pread(file, Buffer.alloc(1), 0)).toBe(0);
});

it("is for files alone", () => {
  using pipe = memfdCreate("stands for what has no places");
  expect(WriteBehind.open(ioOf(pipe.raw))).toBeUndefined();
});

it("many batches, full of pages or of zero pages, arrive in a file whole", async () => {
  const size = 64 * 2 ** 20;
  using source = RamBlock.create({ id: "pc.ram", size: BigInt(size) });
  using target = RamBlock.create({ id: "pc.ram", size: BigInt(size) });
  // Runs with content and without, from one page to more than a batch holds.
  for (let page = 0, run = 1; page + run <= size / PAGE; page += 2 * run, run = run < 2000 ? run * 2 : 1) {
    const words = new Uint32Array(source.view(page * PAGE, run * PAGE));
    for (let i = 0; i < words.length; i++) words[i] = Math.imul(page * PAGE + i, 2654435761) | 1;
  }
  using file = memfdCreate("stream");
  const contents = (block: RamBlock) => ({ machineType: "m", ram: [{ block }], sections: [] });
  const where = `file:/proc/self/fd/${file.raw},offset=0`;
  const write = await openOutgoing(where);
  const { pages, zeroPages } = await writeStream(write, contents(source));
  await write.end();
  await write.close();
  expect(pages + zeroPages).toBe(size / PAGE);
  const read = await openIncoming(where);
  expect(await readStream(read, contents(target))).toMatchObject({ pages, zeroPages, checksum: true });
  await read.close();
  expect(Buffer.from(target.view(0, size)).equals(Buffer.from(source.view(0, size)))).toBe(true);
});
