import type { GuestMemory } from "@baton/memory";
import { areas } from "./driver.js";
import { BENCH_BASE, BENCH_RAM, type MmioBench } from "./mmio-bench.js";

const RINGS = BENCH_BASE;
const RINGS_BYTES = 0x1_0000;
const TABLES = BENCH_BASE + 0x20_0000;
const BUFFERS = BENCH_BASE + 0x40_0000;
const END = BENCH_BASE + BENCH_RAM;

const STATUS_NEEDS_RESET = 0x40;
const REGISTER = { deviceFeaturesSel: 0x14, driverFeatures: 0x20, driverFeaturesSel: 0x24, queueSel: 0x30 } as const;
const QUEUE = { num: 0x38, ready: 0x44, notify: 0x50, desc: 0x80, driver: 0x90, device: 0xa0 } as const;
const STATUS = 0x70;
const FEATURE_RING_PACKED = 1n << 34n;
const VERSION_1 = 1n << 32n;

const TELLING = [0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff];
const ADDRESSES = [
  0,
  1,
  BENCH_BASE - 1,
  BENCH_BASE,
  RINGS,
  TABLES,
  BUFFERS,
  END - 4096,
  END - 16,
  END - 1,
  END,
  2 ** 32,
];
const LENGTHS = [0, 1, 2, 12, 15, 16, 17, 44, 512, 513, 4096, 0x1_0000, BENCH_RAM, 0x7fff_ffff, 0xffff_ffff];
/** Heads of requests: of disks, network packets, control messages of consoles and streams of sockets. */
const TYPES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 0xffff];

/** Pseudo-random numbers: the same ones for the same seed. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % limit;
  }

  one<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  /** Any number of 32 bits, most often one that tells something. */
  word(): number {
    return this.oneIn(3) ? this.below(2 ** 32) : this.one(TELLING);
  }
}

/** A ring that the attacker writes by hand. */
interface HandMade {
  readonly size: number;
  index: number;
}

/** A guest that breaks the rules of virtio-mmio and of queues, one attack after the other, on a device of a bench. */
export class Attacker {
  /** How often the device has asked to be reset. */
  needsReset = 0;
  readonly #bench: MmioBench;
  readonly #memory: GuestMemory;
  readonly #dice: Dice;
  readonly #queues: number;
  #rings: HandMade[] = [];
  #packed = false;

  constructor(bench: MmioBench, queues: number, seed: number) {
    this.#bench = bench;
    this.#memory = bench.memory;
    this.#queues = queues;
    this.#dice = new Dice(seed);
  }

  /** One attack, and a turn of the device's thread. */
  step(): void {
    const kind = this.#dice.below(64);
    if (kind === 0 || this.#rings.length === 0) this.#setUp(this.#dice.oneIn(4));
    else if (kind === 1) this.#bench.write(STATUS, 0);
    else if (kind < 12) this.#pokeRegister();
    else this.#offerChain();
    this.#bench.turn();
    if ((this.#bench.status & STATUS_NEEDS_RESET) === 0) return;
    this.needsReset++;
    this.#setUp(false);
  }

  /** Brings the device up over rings by hand: as it should be, or with any values. */
  #setUp(wild: boolean): void {
    const dice = this.#dice;
    const { offered } = this.#bench;
    let features = dice.oneIn(2) ? offered : offered & ((BigInt(dice.word()) << 32n) | BigInt(dice.word()));
    if (dice.oneIn(2)) features &= ~FEATURE_RING_PACKED;
    features |= wild && dice.oneIn(2) ? BigInt(dice.word()) : VERSION_1;
    this.#packed = (features & FEATURE_RING_PACKED) !== 0n;
    this.#bench.write(STATUS, 0);
    this.#bench.write(STATUS, wild ? dice.below(256) : 3);
    for (const half of [0, 1]) {
      this.#bench.write(REGISTER.driverFeaturesSel, half);
      this.#bench.write(REGISTER.driverFeatures, Number((features >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    this.#bench.write(STATUS, wild ? dice.below(256) : 0x0b);
    this.#rings = [];
    for (let queue = 0; queue < this.#queues; queue++) this.#setUpQueue(queue, wild);
    this.#bench.write(STATUS, wild ? dice.below(256) : 0x0f);
  }

  #setUpQueue(queue: number, wild: boolean): void {
    const dice = this.#dice;
    const size = wild && dice.oneIn(3) ? dice.word() : 1 << dice.below(7);
    const layout = areas(RINGS + queue * RINGS_BYTES, Math.min(size, 256));
    this.#memory.write(Number(layout.desc), new Uint8Array(0x2000));
    this.#rings[queue] = { size: Math.max(1, Math.min(size, 256)), index: 0 };
    this.#bench.write(REGISTER.queueSel, queue);
    this.#bench.write(QUEUE.num, size);
    for (const [at, address] of [
      [QUEUE.desc, layout.desc],
      [QUEUE.driver, layout.driver],
      [QUEUE.device, layout.device],
    ] as const) {
      const told = wild && dice.oneIn(3) ? dice.one(ADDRESSES) : Number(address);
      this.#bench.write(at, told >>> 0);
      this.#bench.write(at + 4, wild && dice.oneIn(8) ? dice.word() : Math.floor(told / 2 ** 32));
    }
    this.#bench.write(QUEUE.ready, wild ? dice.word() : 1);
  }

  #pokeRegister(): void {
    const dice = this.#dice;
    const register = dice.one(Object.values({ ...REGISTER, ...QUEUE }));
    const offset = dice.oneIn(2) ? register : dice.below(0x80) * 4;
    if (dice.oneIn(2)) this.#bench.read(offset + (dice.oneIn(4) ? dice.below(4) : 0), dice.one([1, 2, 4]));
    else if (offset !== STATUS || dice.oneIn(8)) this.#bench.write(offset, dice.word());
  }

  /** A chain that is almost right, or not at all, made available on a queue whose doorbell is rung. */
  #offerChain(): void {
    const dice = this.#dice;
    const queue = dice.below(this.#queues);
    const rings = this.#rings[queue] as HandMade;
    const base = RINGS + queue * RINGS_BYTES;
    const parts = 1 + dice.below(4);
    const indirect = dice.oneIn(4);
    const first = dice.below(rings.size);
    const writableFrom = dice.below(parts + 1);
    this.#writeHead(BUFFERS + queue * 0x1_0000);
    for (let i = 0; i < parts; i++) {
      const at = indirect ? TABLES + queue * 0x1000 + i * 16 : base + ((first + i) % rings.size) * 16;
      const next = dice.oneIn(16) ? dice.word() : indirect ? i + 1 : (first + i + 1) % rings.size;
      const chained = i < parts - 1 || dice.oneIn(16) ? 1 : 0;
      this.#writeDescriptor(at, queue, i, chained | (i >= writableFrom ? 2 : 0), next);
    }
    if (indirect) {
      const length = dice.oneIn(8) ? dice.one(LENGTHS) : parts * 16;
      const table = dice.oneIn(8) ? dice.one(ADDRESSES) : TABLES + queue * 0x1000;
      this.#put(base + first * 16, table, length, 4 | this.#available(rings), dice.below(rings.size));
    }
    if (!this.#packed) {
      const driver = Number(areas(base, rings.size).driver);
      this.#memory.writeU16(driver + 4 + 2 * (rings.index % rings.size), dice.oneIn(16) ? dice.word() & 0xffff : first);
      rings.index = (rings.index + (dice.oneIn(32) ? dice.word() : 1)) & 0xffff;
      this.#memory.writeU16(driver + 2, rings.index);
    } else rings.index = (rings.index + parts) & 0xffff;
    this.#bench.write(QUEUE.notify, dice.oneIn(32) ? dice.word() : queue);
  }

  /** The beginning of a request, right in most of its fields. */
  #writeHead(at: number): void {
    const dice = this.#dice;
    this.#memory.writeU32(at, dice.one(TYPES));
    this.#memory.writeU32(at + 4, dice.oneIn(2) ? 0 : dice.word());
    this.#memory.writeU64(at + 8, BigInt(dice.oneIn(4) ? dice.word() : dice.below(64)));
    for (let offset = 16; offset < 48; offset += 4) this.#memory.writeU32(at + offset, dice.oneIn(2) ? 0 : dice.word());
  }

  #writeDescriptor(at: number, queue: number, index: number, flags: number, next: number): void {
    const dice = this.#dice;
    const place = BUFFERS + queue * 0x1_0000 + index * 0x1000;
    const wild = dice.oneIn(12);
    const address = wild ? dice.one(ADDRESSES) : place;
    const length = wild ? dice.one(LENGTHS) : dice.one([1, 12, 16, 44, 512, 4096]);
    const odd = dice.oneIn(24) ? dice.word() & 0xffff : 0;
    this.#put(at, address, length, flags | odd | this.#available(this.#rings[queue] as HandMade), next);
  }

  /** The bits by which a packed descriptor is available, now and then those of the other lap. */
  #available(rings: HandMade): number {
    if (!this.#packed) return 0;
    const lap = Math.floor(rings.index / rings.size) % 2 === 0;
    return lap !== this.#dice.oneIn(16) ? 0x80 : 0x8000;
  }

  #put(at: number, address: number, length: number, flags: number, next: number): void {
    this.#memory.writeU64(at, BigInt(address));
    this.#memory.writeU32(at + 8, length);
    // Packed: the id, then the flags; split: the flags, then the next.
    this.#memory.writeU16(at + 12, (this.#packed ? next : flags) & 0xffff);
    this.#memory.writeU16(at + 14, (this.#packed ? flags : next) & 0xffff);
  }
}
