import { BatonError, eventfd, type Fd, IoUring, RWF_DSYNC } from "@baton/linux";
import type { ImageOptions } from "./open.js";

/**
 * How requests are carried out, by QEMU's names: `threads` one after the other in the device's thread, `io_uring` by the
 * kernel while that goes on.
 */
export type Aio = "threads" | "io_uring";

/** Where requests of an image are under way while its device's thread goes on. A token comes back with each result. */
export interface ImageRing {
  /** Becomes readable when requests have ended; there is no need to read it if it is watched by its edges. */
  readonly ready: Fd;
  /** Requests whose results were not taken. */
  readonly underWay: number;
  /** How many more may begin. */
  readonly room: number;
  /** Begins to read the `count` pieces packed at the address `iov`, when it is submitted. */
  read(iov: number, count: number, offset: number, token: number): void;
  /** Begins to write; `durable`: it ends when its data is safe. */
  write(iov: number, count: number, offset: number, durable: boolean, token: number): void;
  /** Begins to make durable what has ended before. */
  flush(token: number): void;
  /** Has the kernel begin what was prepared. */
  submit(): void;
  /** Submits, and waits until some of what is under way has ended. */
  wait(): void;
  /** Calls `onEnd` with the token of each that has ended, and the bytes moved or the negative error number. */
  reap(onEnd: (token: number, result: number) => void): void;
  /** Nothing may be under way. */
  close(): void;
}

/** The most runs of requests under way. */
const DEPTH = 256;

/** A raw image's requests under way in the kernel. */
export class IoUringImage implements ImageRing {
  readonly ready: Fd;
  readonly #ring: IoUring;
  readonly #fd: number;
  readonly #pairs: Int32Array;

  /** Takes over the ring. */
  constructor(ring: IoUring, fd: number) {
    const ready = eventfd({ name: "io_uring completions" });
    try {
      ring.notify(ready);
    } catch (error) {
      ready.close();
      throw error;
    }
    this.ready = ready;
    this.#ring = ring;
    this.#fd = fd;
    this.#pairs = new Int32Array(2 * ring.entries);
  }

  get underWay(): number {
    return this.#ring.underWay;
  }

  get room(): number {
    return this.#ring.room;
  }

  read(iov: number, count: number, offset: number, token: number): void {
    this.#ring.readv(this.#fd, iov, count, offset, 0, token);
  }

  write(iov: number, count: number, offset: number, durable: boolean, token: number): void {
    this.#ring.writev(this.#fd, iov, count, offset, durable ? RWF_DSYNC : 0, token);
  }

  flush(token: number): void {
    this.#ring.fdatasync(this.#fd, token);
  }

  submit(): void {
    this.#ring.submit();
  }

  wait(): void {
    this.#ring.wait();
  }

  reap(onEnd: (token: number, result: number) => void): void {
    for (;;) {
      const count = this.#ring.reap(this.#pairs);
      if (count === 0) return;
      for (let i = 0; i < count; i++) onEnd(this.#pairs[2 * i] as number, this.#pairs[2 * i + 1] as number);
    }
  }

  close(): void {
    this.#ring.close();
    this.ready.close();
  }
}

/**
 * The ring of an image that shall have one; undefined for `threads`, and where io_uring is only preferred and not to be
 * had. Throws `IO_URING_UNAVAILABLE` where it was asked for by name.
 */
export function openRing(options: ImageOptions, open = IoUring.open): ImageRing | undefined {
  if (options.kind !== "raw" || options.aio === undefined || options.aio === "threads") return undefined;
  let ring: IoUring;
  try {
    ring = open({ entries: DEPTH });
  } catch (error) {
    if (options.aio === "prefer-io_uring" && BatonError.is(error, "IO_URING_UNAVAILABLE")) return undefined;
    throw error;
  }
  try {
    return new IoUringImage(ring, options.fd);
  } catch (error) {
    ring.close();
    throw error;
  }
}
