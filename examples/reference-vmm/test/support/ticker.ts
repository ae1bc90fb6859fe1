import { setTimeout as delay } from "node:timers/promises";
import { guestLayout, tickerLayout, tickerMmioByte, tickerStatus } from "@baton/guests";
import type { GuestMemory } from "@baton/memory";
import { type CustomDevice, customDevice } from "../../src/index.js";

/** The ticker's devices in the embedder's thread, which answer after a moment, so that a pause can meet a waiting access. */
export class TickerDevices {
  readonly devices: readonly CustomDevice[];
  /** Errors that the devices found: bytes lost, doubled or out of order. */
  readonly errors: string[] = [];
  /** Bytes of the `rep outsb` stream so far. */
  outsBytes = 0;
  reads = 0;
  #written = 0;
  readonly #latencyMs: () => number;

  constructor(latencyMs: () => number) {
    this.#latencyMs = latencyMs;
    const ports = { space: "pio" as const, base: BigInt(tickerLayout.PORT_IN), length: 9 };
    const page = { space: "mmio" as const, base: 0xd0000000n, length: 0x3000 };
    this.devices = [
      customDevice({ name: "ticker-ports", ranges: [ports], handler: { thread: "embedder", handler: this.#ports() } }),
      customDevice({ name: "ticker-mmio", ranges: [page], handler: { thread: "embedder", handler: this.#mmio() } }),
    ];
  }

  #ports() {
    return {
      read: async () => {
        this.reads++;
        for (let i = 0; i < 4; i++) await this.#wait();
        return (this.#written + 1) >>> 0;
      },
      write: async (offset: number, _size: number, value: number) => {
        if (offset === 4) this.#written = value;
        else if (offset === 8) {
          if (this.outsBytes % 64 === 0) await this.#wait();
          const word = BigInt(Math.floor(this.outsBytes / 8));
          const expected = Number((word >> BigInt(8 * (this.outsBytes % 8))) & 0xffn);
          if (value !== expected) this.errors.push(`outs byte ${this.outsBytes} is ${value}, not ${expected}`);
          this.outsBytes++;
        }
      },
    };
  }

  #mmio() {
    return {
      read: async (offset: number, size: number) => {
        await this.#wait();
        let value = 0;
        for (let i = size - 1; i >= 0; i--) value = value * 256 + tickerMmioByte(0xd0000000 + offset + i);
        return value;
      },
      write: () => {},
    };
  }

  async #wait(): Promise<void> {
    const ms = this.#latencyMs();
    if (ms > 0) await delay(ms);
  }
}

/** Reads a word of the ticker's status block. */
export function tickerWord(memory: GuestMemory, word: keyof typeof tickerStatus): number {
  return Number(memory.readU64(BigInt(guestLayout.STATUS + tickerStatus[word])));
}

/** What is wrong with the ticker's slots up to its last tick: every count must be 1, time stamps must grow. */
export function checkTickerSlots(memory: GuestMemory): string[] {
  const wrong: string[] = [];
  const ticks = tickerWord(memory, "TICKS");
  let before = 0n;
  for (let tick = 1; tick <= ticks; tick++) {
    const slot = BigInt(tickerLayout.SLOTS + 16 * tick);
    const count = memory.readU64(slot);
    const tsc = memory.readU64(slot + 8n);
    if (count !== 1n) wrong.push(`tick ${tick} ran ${count} times`);
    if (tsc <= before) wrong.push(`tick ${tick} has time stamp ${tsc}, after ${before}`);
    before = tsc;
  }
  return wrong;
}
