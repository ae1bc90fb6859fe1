import { BatonError } from "@baton/linux";
import type { Chain, ChainState } from "./chain.js";
import type { ChainBuilder } from "./chain-builder.js";
import { DESC_F_WRITE, MAX_QUEUE_SIZE } from "./descriptor.js";
import { QueueError } from "./errors.js";
import type { QueueState } from "./queue.js";

/** A `VIRTQUEUE_STATE` error that names the field. */
export function stateError(queue: number, field: string, message: string, cause?: unknown): BatonError {
  return new BatonError("VIRTQUEUE_STATE", `queue[${queue}]/${field}: ${message}`, {
    cause,
    details: { queue, field },
  });
}

/** Checks an integer of a state. */
export function checkInteger(queue: number, field: string, value: unknown, min: number, max: number): void {
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw stateError(queue, field, `must be ${min} to ${max}, not ${String(value)}`);
  }
}

/** Checks that a field of a state has a type. */
export function checkType(queue: number, field: string, value: unknown, type: "bigint" | "boolean"): void {
  if (typeof value !== type) throw stateError(queue, field, `must be a ${type}, not ${String(value)}`);
}

function checkObject(queue: number, field: string, value: unknown): void {
  if (typeof value !== "object" || value === null) throw stateError(queue, field, "must be an object");
}

/** Checks the types and ranges of what both kinds of queue save. */
export function checkBase(queue: number, state: QueueState): void {
  checkType(queue, "ready", state.ready, "boolean");
  checkType(queue, "broken", state.broken, "boolean");
  if (!state.ready) return;
  for (const field of ["desc", "driver", "device"] as const) checkType(queue, field, state[field], "bigint");
  checkInteger(queue, "size", state.size, 1, MAX_QUEUE_SIZE);
  checkInteger(queue, "unsignalled", state.unsignalled, 0, 0x1_0000);
  if (!Array.isArray(state.inFlight) || state.inFlight.length > state.size) {
    throw stateError(queue, "inFlight", "must be a list of no more than the queue's size");
  }
  for (const [i, entry] of state.inFlight.entries()) {
    checkObject(queue, `inFlight[${i}]`, entry);
    const { id, descriptors, written } = entry;
    checkInteger(queue, `inFlight[${i}]/id`, id, 0, 0xffff);
    checkInteger(queue, `inFlight[${i}]/descriptors`, descriptors, 1, state.size);
    if (written !== null) checkInteger(queue, `inFlight[${i}]/written`, written, 0, 0xffff_ffff);
  }
}

/** Makes a saved chain, checked like one from the driver. */
export function loadChain(queue: number, state: ChainState, builder: ChainBuilder, owner: object): Chain {
  checkInteger(queue, "chain/position", state.position, 0, 0xffff);
  builder.begin();
  let count = 0;
  for (const part of ["readable", "writable"] as const) {
    const flags = part === "writable" ? DESC_F_WRITE : 0;
    if (!Array.isArray(state[part])) throw stateError(queue, `chain/${part}`, "must be a list");
    for (const piece of state[part]) {
      const field = `chain/${part}[${count}]`;
      checkObject(queue, field, piece);
      const { gpa, length } = piece;
      checkType(queue, `${field}/gpa`, gpa, "bigint");
      checkInteger(queue, `${field}/length`, length, 1, 0xffff_ffff);
      try {
        builder.add(Number(gpa & 0xffff_ffffn), Number(gpa >> 32n), length, flags, count++);
      } catch (error) {
        if (error instanceof QueueError) throw stateError(queue, field, error.message, error);
        throw error;
      }
    }
  }
  if (count === 0) throw stateError(queue, "chain", "has no bytes");
  return builder.finish(owner, state.id, state.position, state.descriptors);
}
