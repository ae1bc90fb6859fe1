/** The same bytes as a plain array: `slice` of a subclass need not copy, as that of Node's does not. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
