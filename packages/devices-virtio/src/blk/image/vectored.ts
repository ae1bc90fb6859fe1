import { EINTR, EIO, type IoVector } from "@baton/linux";

/** tryPreadv or tryPwritev. */
export type VectoredCall = (fd: number, iov: BigUint64Array, count: number, offset: number) => number;

/**
 * Repeats a vectored call until all bytes are moved, advancing `vector` where one moved less. 0, or the negative error
 * number; where a call moves nothing, what `atEnd` makes of the rest.
 */
export function moveAll(
  call: VectoredCall,
  fd: number,
  vector: IoVector,
  offset: number,
  atEnd: (vector: IoVector) => number = () => -EIO,
): number {
  const end = offset + vector.byteLength;
  for (;;) {
    const left = vector.byteLength;
    const result = call(fd, vector.words, vector.count, end - left);
    if (result === left) return 0;
    if (result === -EINTR) continue;
    if (result < 0) return result;
    if (result === 0) return atEnd(vector);
    vector.advance(result);
  }
}

/** Moves the first `bytes` of a vector into `target`, which is emptied before. */
export function splitOff(vector: IoVector, target: IoVector, bytes: number): void {
  target.clear();
  for (let i = 0, left = bytes; left > 0; i++) {
    const length = Math.min(left, Number(vector.words[i * 2 + 1]));
    target.add(Number(vector.words[i * 2]), length);
    left -= length;
  }
  vector.advance(bytes);
}
