import { EPOLLIN, POLLOUT, poll, tryRead, tryWrite } from "@baton/linux";

const HEADER_BYTES = 12;
const MAC_BYTES = 6;
const FULL_MS = 1000;

/** A service that sends each frame back to where it came from; `options.fd` is a socket of packets. */
export function echoFrames(context) {
  const { fd } = context.options;
  const frame = new Uint8Array(1 << 16);
  const end = context.watch(fd, EPOLLIN, () => {
    for (let budget = 64; budget > 0; budget--) {
      const length = tryRead(fd, frame);
      if (length <= 0) return;
      const destination = frame.slice(HEADER_BYTES, HEADER_BYTES + MAC_BYTES);
      frame.copyWithin(HEADER_BYTES, HEADER_BYTES + MAC_BYTES, HEADER_BYTES + 2 * MAC_BYTES);
      frame.set(destination, HEADER_BYTES + MAC_BYTES);
      frame.fill(0, 0, HEADER_BYTES);
      if (tryWrite(fd, frame.subarray(0, length)) >= 0) continue;
      poll([{ fd, events: POLLOUT }], FULL_MS);
      tryWrite(fd, frame.subarray(0, length));
    }
  });
  return { close: end };
}
