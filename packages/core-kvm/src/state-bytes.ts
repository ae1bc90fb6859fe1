import { BatonError } from "@baton/linux";

/** Throws `STATE_INVALID`, naming `what`, unless a kernel structure of a state has its length: the kernel reads it all. */
export function checkStateBytes(what: string, bytes: Uint8Array, expected: number): void {
  if (bytes.length === expected) return;
  throw new BatonError("STATE_INVALID", `The state of ${what} has ${bytes.length} bytes, not ${expected}`, {
    details: { expected },
  });
}
