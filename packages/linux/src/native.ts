/**
 * The only import of koffi. It accepts anything as a pointer, so nothing outside this package may call it: what is
 * exported to users validates its arguments first, and reads the error number right after the call (any I/O of Node's
 * overwrites it).
 */
import koffi from "koffi";
import { aView } from "./validate.js";

/** Bytes that a system call reads or writes; koffi passes the address of the first one. */
export type Bytes = Uint8Array | ArrayBufferView;

let library: ReturnType<typeof koffi.load> | undefined;
const functions = new Map<string, unknown>();

function load(): ReturnType<typeof koffi.load> {
  library ??= koffi.load("libc.so.6");
  return library;
}

/**
 * The function of libc with this C prototype, as in `int close(int)`; loaded at first use and remembered by the text of
 * the prototype. Several prototypes of one function may coexist (an integer or a pointer as ioctl's argument).
 * Hot callers keep the result in a variable of their module.
 */
export function libc<F>(prototype: string): F {
  let found = functions.get(prototype);
  if (found === undefined) {
    found = load().func(prototype);
    functions.set(prototype, found);
  }
  return found as F;
}

/** The address of a symbol of libc. */
export function libcSymbol(name: string): bigint {
  return BigInt(load().symbol(name));
}

/** The error number of the call that this thread made last. */
export const lastErrno: () => number = () => koffi.errno();

/**
 * The address of the first byte of `bytes`, for structures that point to other memory. Valid as long as something
 * references `bytes`, which the caller sees to until the kernel is done with it.
 */
export function addressOf(bytes: Bytes): bigint {
  aView(bytes, "bytes");
  return BigInt(koffi.address(bytes));
}

/** An ArrayBuffer over memory that this process has mapped; the caller has checked address and length. */
export function viewMemory(address: bigint, length: number): ArrayBuffer {
  return koffi.view(address, length);
}

/** Whatever is referenced here stays alive while native code works with its address. */
export let pinned: unknown;

/** Runs `call` while `objects` cannot be collected: koffi does not root what is reached through raw addresses. */
export function withPinned<T>(objects: unknown, call: () => T): T {
  pinned = objects;
  try {
    return call();
  } finally {
    pinned = undefined;
  }
}
