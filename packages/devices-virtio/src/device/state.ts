import { BatonError } from "@baton/linux";
import type { QueueLayout, QueueState } from "../queue/queue.js";

/** What the driver has written about a queue (virtio 1.2, 4.2.2). */
export interface QueueRegisters extends QueueLayout {
  readonly enabled: boolean;
}

/** A virtio device with its transport-independent half, as plain data. */
export interface VirtioState {
  /** The device's number (virtio 1.2, 5): a state is for no other. */
  readonly deviceId: number;
  readonly status: number;
  /** The features that were offered when the state was made. */
  readonly offered: bigint;
  /** The features that the driver has written. */
  readonly accepted: bigint;
  readonly configGeneration: number;
  readonly interruptStatus: number;
  readonly queues: readonly { readonly registers: QueueRegisters; readonly ring: QueueState | null }[];
  /** What the transport keeps beside it: selectors. */
  readonly transport: unknown;
  /** What the device itself keeps. */
  readonly device: unknown;
}

/** A `DEVICE_STATE` error that names the field. */
export function deviceStateError(device: string, field: string, problem: string): BatonError {
  return new BatonError("DEVICE_STATE", `${device}/${field}: ${problem}`, { details: { device, field } });
}

/** Reads the fields of a state that was not made in this process; every mistake is named by its path. */
export class StateReader {
  readonly #device: string;
  readonly #path: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(device: string, state: unknown, path = "") {
    this.#device = device;
    this.#path = path;
    if (typeof state !== "object" || state === null || Array.isArray(state)) {
      throw deviceStateError(device, path === "" ? "state" : path, "is not an object");
    }
    this.#fields = state as Readonly<Record<string, unknown>>;
  }

  /** An error about a field. */
  error(field: string, problem: string): BatonError {
    return deviceStateError(this.#device, this.#at(field), problem);
  }

  integer(field: string, min: number, max: number): number {
    const value = this.#fields[field];
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
      throw this.error(field, `must be ${min} to ${max}, not ${shown(value)}`);
    }
    return value;
  }

  bits(field: string, width = 64): bigint {
    const value = this.#fields[field];
    if (typeof value !== "bigint" || value < 0n || value >> BigInt(width) !== 0n) {
      throw this.error(field, `must be an unsigned number of ${width} bits, not ${shown(value)}`);
    }
    return value;
  }

  boolean(field: string): boolean {
    const value = this.#fields[field];
    if (typeof value !== "boolean") throw this.error(field, `must be true or false, not ${shown(value)}`);
    return value;
  }

  string(field: string, maxLength: number): string {
    const value = this.#fields[field];
    if (typeof value !== "string" || value.length > maxLength) throw this.error(field, "is not a string, or too long");
    return value;
  }

  bytes(field: string, maxLength: number): Uint8Array {
    const value = this.#fields[field];
    if (!(value instanceof Uint8Array) || value.length > maxLength)
      throw this.error(field, "is not bytes, or too long");
    return value;
  }

  /** A list of at most `maxLength`, each element read by `read`. */
  list<T>(field: string, maxLength: number, read: (element: unknown, path: string) => T): T[] {
    const value = this.#fields[field];
    if (!Array.isArray(value) || value.length > maxLength) {
      throw this.error(field, `must be a list of at most ${maxLength}`);
    }
    return value.map((element, i) => read(element, `${this.#at(field)}[${i}]`));
  }

  /** An object within. */
  object(field: string): StateReader {
    return new StateReader(this.#device, this.#fields[field], this.#at(field));
  }

  /** Whatever it is. */
  raw(field: string): unknown {
    return this.#fields[field];
  }

  #at(field: string): string {
    return this.#path === "" ? field : `${this.#path}/${field}`;
  }
}

/** A value for a message: an object may have no text, or throw when it is asked for it. */
function shown(value: unknown): string {
  return typeof value === "object" || typeof value === "function" ? "an object" : String(value);
}
