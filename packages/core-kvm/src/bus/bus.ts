import { BatonError } from "@baton/linux";
import type { BusDevice, BusRange, HandlerModule } from "./handler.js";

/** What the vCPU threads need to know of the bus; structured-clonable. */
export interface BusDescription {
  readonly devices: readonly {
    readonly name: string;
    readonly thread: BusDevice["handler"]["thread"];
    readonly module: HandlerModule | null;
  }[];
  readonly ranges: readonly (BusRange & { readonly device: number })[];
}

/** The guest's I/O ports and memory-mapped registers: which device answers where. Complete before the vCPU threads start. */
export class Bus {
  readonly #devices: BusDevice[] = [];

  /** Adds a device. Fails with `BUS_RANGE` for an impossible range and `BUS_CONFLICT` for one that is taken. */
  add(device: BusDevice): void {
    for (const range of device.ranges) {
      const end = range.base + BigInt(range.length);
      const limit = range.space === "pio" ? 0x10000n : 1n << 52n;
      if (range.base < 0n || range.length <= 0 || end > limit) {
        throw new BatonError(
          "BUS_RANGE",
          `${device.name}: ${describeRange(range)} is outside the ${range.space} space`,
        );
      }
      const taken = this.#find(
        (r) => r.space === range.space && r.base < end && range.base < r.base + BigInt(r.length),
      );
      if (taken !== undefined) {
        const where = describeRange(range);
        throw new BatonError("BUS_CONFLICT", `${device.name}: ${where} overlaps ${taken.name}`);
      }
    }
    this.#devices.push(device);
  }

  #find(test: (range: BusRange) => boolean): BusDevice | undefined {
    return this.#devices.find((device) => device.ranges.some(test));
  }

  /** The devices in the order of their numbers. */
  get devices(): readonly BusDevice[] {
    return this.#devices;
  }

  /** A picture of the bus for other threads. */
  describe(): BusDescription {
    return {
      devices: this.#devices.map(({ name, handler }) => ({
        name,
        thread: handler.thread,
        module:
          handler.thread === "embedder" || handler.thread === "service"
            ? null
            : {
                module: handler.module,
                factory: handler.factory,
                shared: handler.shared,
                options: handler.options,
              },
      })),
      ranges: this.#devices.flatMap((device, index) => device.ranges.map((range) => ({ ...range, device: index }))),
    };
  }
}

/** A range as messages show it. */
export function describeRange(range: BusRange): string {
  const last = range.base + BigInt(range.length) - 1n;
  return `${range.space} 0x${range.base.toString(16)}-0x${last.toString(16)}`;
}
