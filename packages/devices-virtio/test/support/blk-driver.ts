import type { Used } from "./driver.js";
import { BENCH_BUFFERS, type MmioBench } from "./mmio-bench.js";

const HEADER_BYTES = 16;
/** Bytes of a request's place: header, status and data. */
const PLACE = 0x4_0000;
const DATA = 0x1000;
const PLACES = 32;

/** The driver of a block device: one request at a time, or several that are gathered. */
export class BlkDriver {
  bench: MmioBench;
  readonly #queue: number;
  readonly #waiting = new Map<number, (used: Used) => void>();
  #next = 0;

  constructor(bench: MmioBench, queue = 0) {
    this.bench = bench;
    this.#queue = queue;
  }

  /** Places a request; the answer comes with {@link BlkDriver.take}. `data` is written, or so many bytes are read. */
  add(type: number, sector: number, data: Uint8Array | number = 0): { status: number; data: Uint8Array } {
    const { memory } = this.bench;
    const place = BENCH_BUFFERS + (this.#next++ % PLACES) * PLACE;
    const reads = typeof data === "number";
    const length = reads ? data : data.length;
    memory.writeU32(place, type);
    memory.writeU32(place + 4, 0);
    memory.writeU64(place + 8, BigInt(sector));
    memory.writeU8(place + HEADER_BYTES, 0xff);
    if (!reads) memory.write(place + DATA, data);
    const half = Math.floor(length / 2);
    const parts = [
      { gpa: place, length: HEADER_BYTES, writable: false },
      ...(half > 0 ? [{ gpa: place + DATA, length: half, writable: reads }] : []),
      ...(length > 0 ? [{ gpa: place + DATA + half, length: length - half, writable: reads }] : []),
      { gpa: place + HEADER_BYTES, length: 1, writable: true },
    ];
    const answer = { status: -1, data: new Uint8Array(0) };
    const id = this.bench.drivers[this.#queue]?.add(parts);
    if (id === null || id === undefined) throw new Error("the queue is full");
    this.#waiting.set(id, () => {
      answer.status = memory.readU8(place + HEADER_BYTES);
      if (reads) answer.data = memory.read(place + DATA, length).slice();
    });
    return answer;
  }

  /** Rings, lets the device work, and takes what is used; how many. */
  take(): number {
    this.bench.kick(this.#queue);
    this.bench.settle();
    return this.collect();
  }

  /** Takes what is used. */
  collect(): number {
    let count = 0;
    for (;;) {
      const used = this.bench.drivers[this.#queue]?.rings.take() ?? null;
      if (used === null) return count;
      this.#waiting.get(used.id)?.(used);
      this.#waiting.delete(used.id);
      count++;
    }
  }

  /** Rings, and lets the device work until all of these are answered. */
  finish(answers: readonly { readonly status: number }[]): void {
    this.bench.kick(this.#queue);
    this.await(answers);
  }

  /** Lets the device work until all of these are answered. */
  await(answers: readonly { readonly status: number }[]): void {
    for (let turns = 0; turns < 1000; turns++) {
      this.collect();
      if (answers.every(({ status }) => status >= 0)) return;
      this.bench.turn(1000);
    }
    throw new Error(`${answers.filter(({ status }) => status < 0).length} requests were not answered`);
  }

  /** Carries out one request. */
  run(type: number, sector: number, data: Uint8Array | number = 0): { status: number; data: Uint8Array } {
    const answer = this.add(type, sector, data);
    this.finish([answer]);
    return answer;
  }
}
