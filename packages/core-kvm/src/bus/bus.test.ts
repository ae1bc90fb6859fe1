import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { controlViews, createControl, word } from "../vcpu-thread/control.js";
import { Bus } from "./bus.js";
import { accessStep, forwardedAccesses } from "./forward.js";
import type { BusDevice, BusRange } from "./handler.js";
import { AddressLookup, PortLookup } from "./lookup.js";

const handler = { thread: "embedder", handler: { read: () => 0, write: () => {} } } as const;
const device = (name: string, ...ranges: BusRange[]): BusDevice => ({ name, ranges, handler });
const pio = (base: number, length: number, offset?: number): BusRange => ({
  ...{ space: "pio", base: BigInt(base), length },
  ...(offset !== undefined && { offset }),
});
const mmio = (base: bigint, length: number): BusRange => ({ space: "mmio", base, length });
const bus = (...devices: BusDevice[]) => {
  const made = new Bus();
  for (const one of devices) made.add(one);
  return made;
};

describe("a bus", () => {
  it.each([
    [pio(0xffff, 2), "BUS_RANGE"],
    [pio(-1, 2), "BUS_RANGE"],
    [pio(0x100, 0), "BUS_RANGE"],
    [mmio((1n << 52n) - 1n, 2), "BUS_RANGE"],
    [pio(0x3f0, 9), "BUS_CONFLICT"],
    [pio(0x3ff, 1), "BUS_CONFLICT"],
    [mmio(0x1000n, 0x1000), "BUS_CONFLICT"],
    [mmio(0xfffn, 2), "BUS_CONFLICT"],
  ])("refuses %j", (range, code) => {
    const made = bus(device("serial", pio(0x3f8, 8), mmio(0x1000n, 16)));
    const refused = expect.objectContaining({ code, message: expect.stringMatching(/^other: (pio|mmio) 0x/) });
    expect(() => made.add(device("other", range))).toThrow(refused);
    expect(made.devices.length).toBe(1);
  });

  it("keeps spaces apart and takes neighbours", () => {
    const made = bus(
      device("a", pio(0x10, 0x10)),
      device("b", pio(0x20, 1), mmio(0x10n, 0x10)),
      device("c", pio(0xf, 1)),
    );
    expect(made.devices.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  });

  it("passes on code, and not the embedder's functions", () => {
    const shared = new SharedArrayBuffer(4);
    const made = bus(device("own", pio(1, 1)), {
      name: "code",
      ranges: [pio(2, 1)],
      handler: { thread: "vcpu", module: "file:///m", factory: "f", shared },
    });
    const { devices } = structuredClone(made.describe());
    expect(devices).toEqual([
      { name: "own", thread: "embedder", module: null },
      { name: "code", thread: "vcpu", module: expect.objectContaining({ module: "file:///m", factory: "f" }) },
    ]);
  });
});

describe("look-up of devices", () => {
  it("finds the range of a port and its bias", () => {
    const { find } = bind(
      new PortLookup(bus(device("kbd", pio(0x60, 1), pio(0x64, 1, 4)), device("end", pio(0xffff, 1))).describe()),
    );
    expect(find(0x64)).toMatchObject({ device: 0, bias: 0x60 });
    expect(find(0xffff)).toMatchObject({ device: 1, bias: 0xffff });
    expect([0, 0x5f, 0x61, 0x63, 0x65, 0xfffe].map(find)).toEqual(Array(6).fill(undefined));
  });

  it("finds the same as a search through all ranges would", () => {
    const gaps = fc.array(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 40 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(gaps, fc.array(fc.integer({ min: 0, max: 4000 }), { maxLength: 50 }), (list, addresses) => {
        let next = 0;
        const ranges = list.map(([gap, length]) => {
          const base = next + gap;
          next = base + length;
          return { base, length };
        });
        const devices = ranges.map(({ base, length }, i) =>
          device(`d${i}`, pio(base, length), mmio(BigInt(base), length)),
        );
        const description = bus(...[...devices].reverse()).describe();
        const ports = new PortLookup(description);
        const memory = new AddressLookup(description);
        for (const address of addresses) {
          const i = ranges.findIndex(({ base, length }) => address >= base && address < base + length);
          const expected = i < 0 ? undefined : ranges.length - 1 - i;
          expect(ports.find(address)?.device).toBe(expected);
          expect(memory.find(address)?.device).toBe(expected);
          expect(memory.find(address)?.device).toBe(expected);
        }
      }),
    );
  });

  it("finds addresses that need 52 bits", () => {
    const base = (1n << 52n) - 0x1000n;
    const lookup = new AddressLookup(bus(device("high", mmio(base, 0x1000))).describe());
    expect(lookup.find(2 ** 52 - 1)).toMatchObject({ device: 0, bias: 2 ** 52 - 0x1000 });
    expect(lookup.find(2 ** 52 - 0x1001)).toBeUndefined();
  });
});

function bind(lookup: PortLookup) {
  return { find: (port: number) => lookup.find(port) };
}

interface Asked {
  readonly space: 0 | 1;
  readonly offset: number;
  readonly size: number;
  readonly count: number;
  readonly write: boolean;
}

/** What a handler gets to see of an access; reads are answered with the bytes' own offsets. */
function taken(asked: Asked, data: Uint8Array) {
  const views = controlViews(createControl());
  views.words[word.space] = asked.space;
  views.words[word.offset] = asked.offset;
  views.words[word.size] = asked.size;
  views.words[word.count] = asked.count;
  views.words[word.isWrite] = asked.write ? 1 : 0;
  views.data.set(data);
  const seen = [];
  for (const { offset, size, write, value, answer } of forwardedAccesses(views)) {
    seen.push({ offset, size, write, value });
    if (!write)
      answer(Array.from({ length: size }, (_, i) => ((offset + i) & 0xff) * 2 ** (8 * i)).reduce((a, b) => a + b));
  }
  return { seen, data: views.data.slice(0, asked.size * asked.count) };
}

describe("forwarded accesses", () => {
  it("give string I/O element by element at one port", () => {
    const bytes = Uint8Array.of(1, 2, 3, 4, 0xff, 0xff);
    const { seen } = taken({ space: 0, offset: 3, size: 2, count: 3, write: true }, bytes);
    expect(seen).toEqual([0x0201, 0x0403, 0xffff].map((value) => ({ offset: 3, size: 2, write: true, value })));
  });

  it("keep port accesses whole at crooked offsets", () => {
    const { seen } = taken({ space: 0, offset: 1, size: 4, count: 1, write: true }, Uint8Array.of(0, 0, 0, 0x80));
    expect(seen).toEqual([{ offset: 1, size: 4, write: true, value: 0x80000000 }]);
  });

  it("give eight bytes of memory as two of four, low half first", () => {
    const { seen } = taken(
      { space: 1, offset: 8, size: 8, count: 1, write: true },
      Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0),
    );
    expect(seen.map(({ offset, size, value }) => [offset, size, value])).toEqual([
      [8, 4, 1],
      [12, 4, 2],
    ]);
  });

  it("take memory accesses of any width and offset apart into aligned ones that cover each byte once", () => {
    const accesses = fc.record({
      space: fc.constant(1 as const),
      offset: fc.integer({ min: 0, max: 4096 }),
      size: fc.integer({ min: 1, max: 8 }),
      count: fc.constant(1),
      write: fc.boolean(),
    });
    fc.assert(
      fc.property(accesses, fc.uint8Array({ minLength: 8, maxLength: 8 }), (asked, bytes) => {
        const { seen, data } = taken(asked, bytes.subarray(0, asked.size));
        const covered = seen.flatMap(({ offset, size }) => Array.from({ length: size }, (_, i) => offset + i));
        expect(covered).toEqual(Array.from({ length: asked.size }, (_, i) => asked.offset + i));
        for (const { offset, size } of seen) expect(offset % size).toBe(0);
        const written = seen.flatMap(({ size, value }) =>
          Array.from({ length: size }, (_, i) => (value / 2 ** (8 * i)) & 0xff),
        );
        if (asked.write) expect(written).toEqual([...bytes.subarray(0, asked.size)]);
        else expect([...data]).toEqual(covered.map((offset) => offset & 0xff));
      }),
    );
  });

  it("choose the widest aligned step", () => {
    expect([accessStep(8, 0), accessStep(3, 0), accessStep(8, 2), accessStep(8, 1), accessStep(1, 4)]).toEqual([
      ...[4, 2, 2, 1, 1],
    ]);
  });
});
