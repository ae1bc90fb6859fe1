import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatonError } from "@baton/linux";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { rounds } from "../../../../test/rounds.js";
import { mutate, Random } from "../../test/support/mutate.js";
import { inspectBytes, readBytes } from "../../test/support/run-stream.js";
import { closeRam, contentsOf, expected, ram, sections } from "../../test/support/sample.js";
import { openOutgoing, type StreamCapability, type StreamRam, writeStream } from "../index.js";

const PAGES = 6;
const flips = rounds({ quick: 2000, full: 1_000_000 });
const mutations = rounds({ quick: 2000, full: 2_500_000 });
/** Every place in a soak test; else some of them. */
const stride = process.env.BATON_SOAK ? 1 : 7;

interface Sample {
  readonly name: string;
  readonly capabilities: readonly StreamCapability[];
  readonly checksum: boolean;
  bytes: Uint8Array;
  /** What is not the content of a page, nor a gap. */
  places: number[];
}

const samples: Sample[] = [
  { name: "with checksums", capabilities: [], checksum: true, bytes: new Uint8Array(), places: [] },
  { name: "with mapped pages", capabilities: ["mapped-ram"], checksum: true, bytes: new Uint8Array(), places: [] },
  { name: "without checksums", capabilities: [], checksum: false, bytes: new Uint8Array(), places: [] },
  {
    name: "without checksums, with ignored blocks",
    capabilities: ["x-ignore-shared"],
    checksum: false,
    bytes: new Uint8Array(),
    places: [],
  },
];

let source: StreamRam[];
let target: StreamRam[];
const uuid = new Uint8Array(16).fill(0xab);

function ramOf(sample: Sample, blocks: StreamRam[]): StreamRam[] {
  const ignored = sample.capabilities.includes("x-ignore-shared");
  return blocks.map((block, i) => (ignored && i === 0 ? { ...block, ignored } : block));
}

const read = (sample: Sample, bytes: Uint8Array, step?: number) =>
  readBytes(
    bytes,
    {
      machineType: "microvm",
      uuid,
      capabilities: sample.capabilities,
      ram: ramOf(sample, target),
      sections: expected,
      checksum: sample.checksum ? "required" : "if-present",
      maxSectionBytes: 64 * 1024,
    },
    step,
  );

/** A stream with mapped pages is mostly gaps, and large. */
const share = ({ capabilities }: Sample) => (capabilities.includes("mapped-ram") ? mutations / 20 : mutations);

/** The error that refuses a stream; undefined where it is read. */
function refusal(call: () => unknown): { code: string; message: string } | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    // No assertion of the framework's: for millions of streams they would cost most of the time.
    if (BatonError.is(error) && /^(STREAM|VMSTATE)_/.test(error.code) && error.message.length < 1000) return error;
    throw error;
  }
}

const { stackTraceLimit } = Error;

beforeAll(async () => {
  // Nobody looks at where errors come from, and it costs more than reading.
  Error.stackTraceLimit = 0;
  const directory = mkdtempSync(join(tmpdir(), "baton-hostile-"));
  source = ram(true, PAGES);
  target = ram(false, PAGES);
  for (const sample of samples) {
    const { capabilities, checksum } = sample;
    const path = join(directory, "stream");
    await using channel = await openOutgoing(`file:${path}`);
    await writeStream(channel, {
      machineType: "microvm",
      uuid,
      capabilities,
      checksum,
      ram: ramOf(sample, source),
      sections,
    });
    await channel.end();
    sample.bytes = Uint8Array.from(readFileSync(path));
    // Pages of the sample have few zero bytes, gaps have nothing else.
    const mapped = capabilities.includes("mapped-ram");
    const filled = Buffer.from(sample.bytes);
    const inPage = new Set<number>();
    for (const { block } of source) {
      for (let page = 0; page < Number(block.size); page += 4096) {
        const content = Buffer.from(block.view(page, 4096).slice(0));
        const at = content.every((byte) => byte === 0) ? -1 : filled.indexOf(content);
        for (let i = 0; at >= 0 && i < 4096; i++) inPage.add(at + i);
      }
    }
    // After a block's name: its size, the header of mapped pages, a word of the bitmap.
    const headers = source.map(({ block: { id } }) => {
      const start = filled.indexOf(id) - 1;
      return { start, end: start + 1 + id.length + 8 + 28 + 8 };
    });
    const first = Math.min(...headers.map(({ start }) => start));
    const pagesEnd = 0x20_0000 + 4 * 4096;
    const used = (at: number) =>
      !mapped || at < first || at >= pagesEnd || headers.some(({ start, end }) => at >= start && at < end);
    sample.places = [...sample.bytes.keys()].filter((at) => !inPage.has(at) && used(at));
  }
  rmSync(directory, { recursive: true });
});

afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
  closeRam(source, target);
});

describe.each(samples)("a stream $name", (sample) => {
  it("comes back however it is cut into pieces", () => {
    for (const step of [1, 7, 4096, 2 ** 20]) {
      const got = read(sample, sample.bytes, step);
      expect(got.sections.map(({ state }) => state)).toEqual(sections.map(({ state }) => state));
      if (!sample.capabilities.includes("x-ignore-shared")) expect(contentsOf(target)).toEqual(contentsOf(source));
    }
  });

  it("is refused when it ends at any byte, but at the end of what matters", () => {
    const inPages = sample.capabilities.includes("mapped-ram") ? [] : [...sample.bytes.keys()];
    const ends = [...sample.places, ...inPages.filter((at) => at % (stride * stride) === 0)];
    const whole = ends.filter((end) => refusal(() => read(sample, sample.bytes.subarray(0, end))) === undefined);
    // Without checksums nothing says that a description follows.
    const description = sample.bytes.lastIndexOf(6, Buffer.from(sample.bytes).lastIndexOf('{"configuration"'));
    expect([...new Set(whole)]).toEqual(sample.checksum ? [] : [description]);
  });

  it("is read as it was or refused, whatever is changed", () => {
    const random = new Random(sample.name.length);
    for (let i = 0; i < share(sample); i++) {
      const bytes = mutate(sample.bytes, random, sample.places);
      refusal(() => {
        const got = read(sample, bytes);
        if (sample.checksum) expect(got.sections.map(({ state }) => state)).toEqual(sections.map(({ state }) => state));
      });
    }
  });

  it("is looked into whatever is changed", () => {
    const random = new Random(sample.name.length + 1);
    for (let i = 0; i < share(sample) / 4; i++) {
      const { sections } = inspectBytes(mutate(sample.bytes, random, sample.places));
      if (sections.length >= 100) throw new Error(`${sections.length} sections`);
    }
  });
});

describe.each(samples.filter(({ checksum }) => checksum))("checksums of a stream $name", (sample) => {
  it("detect every flipped bit", () => {
    const random = new Random(7);
    const mapped = sample.capabilities.includes("mapped-ram");
    const check = (at: number, bit: number) => {
      sample.bytes[at]! ^= 1 << bit;
      const error = refusal(() => read(sample, sample.bytes));
      sample.bytes[at]! ^= 1 << bit;
      if (!error) throw new Error(`bit ${bit} of byte ${at} was not missed`);
    };
    for (let i = 0; i < flips; i++) {
      const anywhere = !mapped && random.below(2) === 0;
      const at = anywhere ? random.below(sample.bytes.length) : sample.places[random.below(sample.places.length)];
      check(at as number, random.below(8));
    }
    for (const at of sample.places.filter((_, i) => i % stride === 0)) check(at, random.below(8));
  });
});
