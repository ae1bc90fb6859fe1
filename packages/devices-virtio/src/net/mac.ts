import { randomBytes } from "node:crypto";
import { BatonError } from "@baton/linux";

/** Bytes of a MAC address. */
export const MAC_BYTES = 6;

/**
 * The bytes of `aa:bb:cc:dd:ee:ff`, of one station: not of a group, not all zeros. Throws `INVALID_ARGUMENT`; `what`
 * begins the message.
 */
export function parseMac(text: string, what: string): Uint8Array {
  const match = /^[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}$/i.test(text);
  const bytes = Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
  if (!match || !isStation(bytes)) {
    throw new BatonError("INVALID_ARGUMENT", `${what}: '${text}' is not the MAC address of a station`, {
      hint: "Such as 52:54:00:12:34:56; the first byte is even",
    });
  }
  return bytes;
}

/** Whether an address can be a station's own. */
export function isStation(bytes: Uint8Array): boolean {
  return bytes.length === MAC_BYTES && ((bytes[0] as number) & 1) === 0 && bytes.some((byte) => byte !== 0);
}

/** The usual form of an address. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** A new address under 52:54:00, which virtual machines use. */
export function randomMac(): Uint8Array {
  return Uint8Array.of(0x52, 0x54, 0x00, ...randomBytes(3));
}
