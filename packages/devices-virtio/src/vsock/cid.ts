import { BatonError } from "@baton/linux";

/** A guest's context id: 0 to 2 and the highest one mean something else (virtio 1.2, 5.10.4). */
const MIN_CID = 3;
const MAX_CID = 0xffff_fffe;

/** Checks a guest's context id. Throws `INVALID_ARGUMENT`. */
export function checkGuestCid(id: string, guestCid: number): void {
  if (Number.isInteger(guestCid) && guestCid >= MIN_CID && guestCid <= MAX_CID) return;
  throw new BatonError("INVALID_ARGUMENT", `${id}: guest CID ${guestCid} is not from ${MIN_CID} to ${MAX_CID}`);
}

/** The configuration space of a socket device (virtio 1.2, 5.10.4): the guest's context id. */
export function vsockConfig(guestCid: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(guestCid).buffer);
}
