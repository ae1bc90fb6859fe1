import { type ControlViews, word } from "../vcpu-thread/control.js";
import type { AccessSize } from "./handler.js";

/** One element of an access that another thread answers. */
export interface ForwardedAccess {
  readonly offset: number;
  readonly size: AccessSize;
  readonly write: boolean;
  /** What the guest writes; 0 for a read. */
  readonly value: number;
  /** Stores what the guest reads. */
  answer(value: number): void;
}

/** The widest access that fits into what is left and is aligned. */
export function accessStep(left: number, alignment: number): AccessSize {
  if (left >= 4 && alignment % 4 === 0) return 4;
  if (left >= 2 && alignment % 2 === 0) return 2;
  return 1;
}

/** Takes the access in a mailbox apart: string I/O by element, wide or crooked memory accesses by aligned parts. */
export function* forwardedAccesses({ words, data }: ControlViews): Generator<ForwardedAccess> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const base = words[word.offset] as number;
  const count = words[word.count] as number;
  const width = words[word.size] as number;
  const write = words[word.isWrite] === 1;
  const port = words[word.space] === 0;
  for (let i = 0; i < count; i++) {
    for (let done = 0; done < width; ) {
      const size = port ? (width as AccessSize) : accessStep(width - done, (base + done) | done);
      const at = i * width + done;
      yield {
        offset: base + done,
        size,
        write,
        value: write ? readElement(view, at, size) : 0,
        answer: (value) => writeElement(view, at, size, value),
      };
      done += size;
    }
  }
}

function readElement(view: DataView, at: number, size: AccessSize): number {
  if (size === 1) return view.getUint8(at);
  return size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function writeElement(view: DataView, at: number, size: AccessSize, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value >>> 0, true);
}
