import { hexText } from "../hex.js";

/** 16 bytes in the usual groups of hexadecimal digits. */
export function formatUuid(bytes: Uint8Array): string {
  const hex = hexText(bytes);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
