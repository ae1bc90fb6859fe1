import { type FileHandle, open } from "node:fs/promises";
import { BatonError, throwIfAborted } from "@baton/linux";
import { crc32 } from "@node-rs/crc32";
import { StreamInput } from "../stream/stream-input.js";
import { findDescription, TAIL_BYTES } from "./find-description.js";
import type { InspectedStream } from "./inspected.js";
import { type DescriptionPlace, type InspectRequest, StreamInspector } from "./stream-inspector.js";

/** How a stream is looked at. */
export interface InspectStreamOptions {
  /** Throws for the first problem instead of listing it, and verifies all checksums. */
  readonly check?: boolean;
  readonly signal?: AbortSignal | undefined;
}

const READ_BYTES = 2 ** 20;

/**
 * Reads a file with a migration stream, also one of QEMU's, without descriptors: by the description at its end. RAM is
 * read through, not kept. What is wrong is listed, or with `check` thrown as `STREAM_*`; `CHANNEL_OPEN` where the file
 * cannot be opened.
 */
export async function inspectStream(path: string, options: InspectStreamOptions = {}): Promise<InspectedStream> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (cause) {
    throw new BatonError("CHANNEL_OPEN", `${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    const { size } = await file.stat();
    const found = await describe(file, size);
    const input = new StreamInput(READ_BYTES + 8192);
    const inspector = new StreamInspector(input, size, found, options.check ?? false);
    const inspected = await run(file, input, inspector.inspect(), options.signal);
    const [first] = inspected.problems;
    if (options.check && first) throw new BatonError(first.code, `${path}: ${first.message}`);
    return inspected;
  } finally {
    await file.close();
  }
}

async function describe(file: FileHandle, size: number): Promise<DescriptionPlace | undefined> {
  const length = Math.min(size, TAIL_BYTES);
  const tail = new Uint8Array(length);
  let got = 0;
  while (got < length) {
    const { bytesRead } = await file.read(tail, got, length - got, size - length + got);
    if (bytesRead === 0) break;
    got += bytesRead;
  }
  const found = findDescription(tail.subarray(0, got));
  if (!found) return undefined;
  const crc = crc32(tail.subarray(found.offset, found.offset + found.bytes));
  return { ...found, offset: size - length + found.offset, crc };
}

async function run(
  file: FileHandle,
  input: StreamInput,
  steps: Generator<InspectRequest, InspectedStream, void>,
  signal: AbortSignal | undefined,
): Promise<InspectedStream> {
  let position = 0;
  for (;;) {
    throwIfAborted(signal);
    const step = steps.next();
    if (step.done) return step.value;
    if (step.value.kind === "seek") {
      position = step.value.position;
      input.jump(position);
      continue;
    }
    const room = input.room();
    const { bytesRead } = await file.read(room, 0, Math.min(room.length, READ_BYTES), position);
    input.filled(bytesRead);
    position += bytesRead;
  }
}
