import {
  BatonError,
  EAGAIN,
  ECONNRESET,
  EDQUOT,
  EINTR,
  ENOSPC,
  EPIPE,
  errnoMessage,
  errnoName,
  type IoVector,
  POLLIN,
  POLLOUT,
  poll,
  tryPread,
  tryPreadv,
  tryPwrite,
  tryPwritev,
  tryRead,
  tryWrite,
  tryWritev,
} from "@baton/linux";
import { CANCELLED, type ChannelTarget, type ChannelThreadData } from "./messages.js";

/** Thrown where a task was cancelled; the main thread knows the reason. */
export class Cancelled extends Error {}

/** Blocking input and output on a non-blocking descriptor or a file, which a cancel and a timeout end. */
export class DescriptorIo {
  readonly #target: ChannelTarget;
  readonly #thread: ChannelThreadData;
  #position: number | undefined;

  constructor(target: ChannelTarget, thread: ChannelThreadData) {
    this.#target = target;
    this.#thread = thread;
    this.#position = target.position;
  }

  /** Bytes, pages and zero pages so far, for the main thread to look at. */
  get progress(): Float64Array {
    return this.#thread.progress;
  }

  get address(): string {
    return this.#target.address;
  }

  get fd(): number {
    return this.#target.fd;
  }

  /** The present place in the file; none for what has no places. */
  get position(): number | undefined {
    return this.#position;
  }

  checkCancelled(): void {
    if (Atomics.load(this.#thread.control, 0) === CANCELLED) throw new Cancelled();
  }

  /** Waits for `POLL*` events; the events that came. */
  wait(events: number): number {
    const { fd, timeoutMs, address } = this.#target;
    const until = performance.now() + timeoutMs;
    for (;;) {
      this.checkCancelled();
      const left = Math.max(0, Math.ceil(until - performance.now()));
      const ready = poll(
        [
          { fd, events },
          { fd: this.#thread.cancelFd, events: POLLIN },
        ],
        left,
      );
      this.checkCancelled();
      if (ready[0]) return ready[0];
      if (left === 0) {
        const what = events & POLLOUT ? "takes nothing" : "sends nothing";
        throw new BatonError("CHANNEL_TIMEOUT", `${address}: the other side ${what} for ${timeoutMs} ms`, {
          details: { address, timeoutMs },
        });
      }
    }
  }

  /** The error for a system call's negative result. */
  failed(syscall: string, result: number): BatonError {
    const errno = -result;
    const { address } = this.#target;
    const facts = { syscall, errno, errnoName: errnoName(errno), details: { address } };
    if (errno === EPIPE || errno === ECONNRESET) {
      return new BatonError("CHANNEL_PEER_CLOSED", `${address}: the other side went away (${errnoName(errno)})`, facts);
    }
    if (errno === ENOSPC || errno === EDQUOT) {
      return new BatonError("CHANNEL_DISK_FULL", `${address}: ${errnoMessage(errno)}`, {
        ...facts,
        hint: "Make room, or choose another place",
      });
    }
    return new BatonError("CHANNEL_IO", `${address}: ${syscall}: ${errnoMessage(errno)}`, facts);
  }

  /** Calls until something moved; the bytes. */
  #move(syscall: string, events: number, call: () => number): number {
    for (;;) {
      this.checkCancelled();
      const result = call();
      if (result === -EAGAIN) this.wait(events);
      else if (result < 0 && result !== -EINTR) throw this.failed(syscall, result);
      else if (result >= 0) {
        if (this.#position !== undefined) this.#position += result;
        return result;
      }
    }
  }

  /** Reads some bytes; 0 at the end. */
  read(bytes: Uint8Array): number {
    const { fd } = this.#target;
    return this.#move("read", POLLIN, () =>
      this.#position === undefined ? tryRead(fd, bytes) : tryPread(fd, bytes, this.#position),
    );
  }

  /** Writes all of it. */
  write(bytes: Uint8Array): void {
    const { fd } = this.#target;
    for (let at = 0; at < bytes.length; ) {
      const rest = at === 0 ? bytes : bytes.subarray(at);
      at += this.#move("write", POLLOUT, () =>
        this.#position === undefined ? tryWrite(fd, rest) : tryPwrite(fd, rest, this.#position),
      );
    }
  }

  /** Writes all pieces and leaves the vector empty. */
  writeVector(vector: IoVector): void {
    const { fd } = this.#target;
    while (vector.count > 0) {
      const moved = this.#move("writev", POLLOUT, () =>
        this.#position === undefined
          ? tryWritev(fd, vector.words, vector.count)
          : tryPwritev(fd, vector.words, vector.count, this.#position),
      );
      vector.advance(moved);
    }
  }

  /** Reads into the pieces, from the present place in the file, until they are full or the file ends; the bytes. */
  readVector(vector: IoVector): number {
    const { fd } = this.#target;
    const wanted = vector.byteLength;
    while (vector.count > 0) {
      const moved = this.#move("preadv", POLLIN, () =>
        tryPreadv(fd, vector.words, vector.count, this.#position as number),
      );
      if (moved === 0) break;
      vector.advance(moved);
    }
    return wanted - vector.byteLength;
  }

  /** Goes elsewhere in the file. */
  seek(position: number): void {
    this.#position = position;
  }
}
