import { IoUring } from "@baton/linux";
import { BlkDevice } from "../../src/blk/device.js";
import { type ImageRing, IoUringImage } from "../../src/blk/image/ring.js";
import type { BlkDeviceOptions } from "../../src/blk/options.js";
import type { VirtioDevice, VirtioDeviceContext } from "../../src/device/device.js";

/** A request that was begun. */
export interface Begun {
  readonly kind: "read" | "write" | "flush";
  readonly offset: number;
  readonly durable: boolean;
  readonly token: number;
}

/** A ring that takes few requests, begins them when the test says so, and can be told what comes of them. */
export class HeldRing implements ImageRing {
  /** The one that was made last. */
  static last: HeldRing;
  readonly begun: Begun[] = [];
  /** The most that were under way. */
  most = 0;
  /** While it is set nothing is submitted, but by a wait. */
  holds = false;
  /** What comes of a request instead of its result. */
  alter: ((request: Begun, result: number) => number) | undefined;
  readonly #inner: IoUringImage;
  readonly #depth: number;

  constructor(fd: number, depth: number) {
    this.#inner = new IoUringImage(IoUring.open(), fd);
    this.#depth = depth;
    HeldRing.last = this;
  }

  get ready() {
    return this.#inner.ready;
  }

  get underWay(): number {
    return this.#inner.underWay;
  }

  get room(): number {
    return this.#depth - this.underWay;
  }

  read(iov: number, count: number, offset: number, token: number): void {
    this.#note({ kind: "read", offset, durable: false, token });
    this.#inner.read(iov, count, offset, token);
  }

  write(iov: number, count: number, offset: number, durable: boolean, token: number): void {
    this.#note({ kind: "write", offset, durable, token });
    this.#inner.write(iov, count, offset, durable, token);
  }

  flush(token: number): void {
    this.#note({ kind: "flush", offset: 0, durable: false, token });
    this.#inner.flush(token);
  }

  #note(request: Begun): void {
    if (this.room <= 0) throw new Error("there is no room");
    this.begun.push(request);
    this.most = Math.max(this.most, this.underWay + 1);
  }

  submit(): void {
    if (!this.holds) this.#inner.submit();
  }

  /** Begins what was held. */
  release(): void {
    this.holds = false;
    this.submit();
  }

  wait(): void {
    this.#inner.wait();
  }

  reap(onEnd: (token: number, result: number) => void): void {
    this.#inner.reap((token, result) => {
      const request = this.begun.findLast((one) => one.token === token) as Begun;
      onEnd(token, this.alter?.(request, result) ?? result);
    });
  }

  close(): void {
    this.#inner.close();
  }
}

/** Four at a time. */
const DEPTH = 4;

/** The factory of a disk on a {@link HeldRing}. */
export function createDiskOnHeldRing(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  const device = options as BlkDeviceOptions;
  if (device.image.kind !== "raw") throw new Error("a raw image is needed");
  return new BlkDevice(context, device, new HeldRing(device.image.fd, DEPTH));
}
