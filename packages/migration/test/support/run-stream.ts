import { crc32 } from "node:zlib";
import { type IoVector, view } from "@baton/linux";
import type { InspectedStream } from "../../src/index.js";
import { findDescription } from "../../src/inspect/find-description.js";
import { StreamInspector } from "../../src/inspect/stream-inspector.js";
import { readMappedPages, type SeekableIo } from "../../src/stream/mapped-pages.js";
import { readPageRecords } from "../../src/stream/page-reader.js";
import { RamTarget } from "../../src/stream/ram-target.js";
import { StreamInput } from "../../src/stream/stream-input.js";
import { type ReadStreamContents, type StreamContents, StreamReader } from "../../src/stream/stream-reader.js";

/** The most that a parser may keep of a stream, in bytes: what it reads ahead, and a section. */
export const BUFFER_BOUND = 256 * 1024;

/** Bytes in place of a file. */
class BytesIo implements SeekableIo {
  readonly progress = new Float64Array(3);
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  checkCancelled(): void {}

  seek(position: number): void {
    this.#position = position;
  }

  writeVector(): void {
    throw new Error("nothing is written here");
  }

  readVector(vector: IoVector): number {
    let read = 0;
    for (const { address, length } of [...vector.pieces()]) {
      const part = this.#bytes.subarray(this.#position, this.#position + length);
      new Uint8Array(view(BigInt(address), length)).set(part);
      this.#position += part.length;
      read += part.length;
    }
    vector.clear();
    return read;
  }
}

/** Reads a stream from memory without waiting for anything, `step` bytes at a time. */
export function readBytes(bytes: Uint8Array, contents: ReadStreamContents, step = 64 * 1024): StreamContents {
  const input = new StreamInput(Math.min(step, 4096));
  let position = 0;
  const more = () => {
    const part = bytes.subarray(position, position + step);
    position += part.length;
    input.append(part);
    if (input.buffer.length > BUFFER_BOUND + 2 * step) throw new Error(`a buffer of ${input.buffer.length} bytes`);
  };
  const steps = new StreamReader(input, contents).read();
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    switch (value.kind) {
      case "bytes":
        more();
        break;
      case "seek":
        position = value.position;
        input.jump(position);
        break;
      case "pages": {
        const target = new RamTarget(value.blocks, value.pageCrc);
        const records = readPageRecords(input, target, value.continued);
        let record = records.next();
        for (; !record.done; record = records.next()) more();
        const blocks = target.finish();
        value.result = { pageCrc: target.pageCrc, continued: record.value, blocks };
        break;
      }
      case "mapped":
        value.result = readMappedPages(new BytesIo(bytes), value.blocks).blocks;
        break;
    }
  }
}

/** Looks into a stream in memory. */
export function inspectBytes(bytes: Uint8Array): InspectedStream {
  const found = findDescription(bytes);
  const crc = found ? crc32(bytes.subarray(found.offset, found.offset + found.bytes)) : 0;
  const input = new StreamInput(4096);
  const steps = new StreamInspector(input, bytes.length, found && { ...found, crc }, true).inspect();
  let position = 0;
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    if (value.kind === "seek") {
      position = value.position;
      input.jump(position);
    } else {
      const part = bytes.subarray(position, position + 64 * 1024);
      position += part.length;
      input.append(part);
    }
  }
}
