import type { RingFeatures } from "@baton/devices-virtio";
import type { DeviceDescription } from "../../config.js";
import { parseBool, parseInteger } from "../grammar.js";
import type { VmmOptions } from "../options.js";

/** A `-device` as given: the driver's name and its sub-options. */
export interface DeviceOption {
  readonly driver: string;
  readonly pairs: ReadonlyMap<string, string>;
}

/** One driver that `-device` knows: its sub-options, and the device that it makes. */
export interface DriverEntry {
  /** Sub-options with their form, as help shows them; `id` and what all have is added. */
  readonly options: Readonly<Record<string, string>>;
  readonly help: string;
  /** Accepted without effect. */
  readonly ignored?: readonly string[];
  /** Null for what becomes a part of another device. */
  make(device: DeviceReader, vmm: VmmOptions): DeviceDescription | null;
}

/** The sub-options that every virtio device has, in QEMU's words. */
export const COMMON_OPTIONS: readonly string[] = ["id", "iothread", "packed", "event-idx", "indirect-desc", "in-order"];

/** Reads the sub-options of one `-device`. */
export class DeviceReader {
  readonly driver: string;
  /** What errors begin with. */
  readonly option: string;
  readonly #pairs: ReadonlyMap<string, string>;

  constructor({ driver, pairs }: DeviceOption, option = "device") {
    this.driver = driver;
    this.option = option;
    this.#pairs = pairs;
  }

  text(key: string): string | undefined {
    return this.#pairs.get(key);
  }

  bool(key: string): boolean | undefined {
    const text = this.#pairs.get(key);
    return text === undefined ? undefined : parseBool(this.option, key, text);
  }

  integer(key: string, min: number, max: number): number | undefined {
    const text = this.#pairs.get(key);
    return text === undefined ? undefined : parseInteger(this.option, key, text, min, max);
  }

  /** What all virtio devices have, for their factory functions. */
  common(defaultId: string): { readonly id: string; readonly iothread?: string; readonly rings: RingFeatures } {
    const iothread = this.text("iothread");
    const packed = this.bool("packed");
    const eventIndex = this.bool("event-idx");
    const indirect = this.bool("indirect-desc");
    const inOrder = this.bool("in-order");
    return {
      id: this.text("id") ?? defaultId,
      ...(iothread !== undefined && { iothread }),
      rings: {
        ...(packed !== undefined && { packed }),
        ...(eventIndex !== undefined && { eventIndex }),
        ...(indirect !== undefined && { indirect }),
        ...(inOrder !== undefined && { inOrder }),
      },
    };
  }
}
