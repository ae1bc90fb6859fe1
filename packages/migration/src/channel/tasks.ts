import { accept, fsync, POLLIN, POLLOUT, socketError } from "@baton/linux";
import { readMappedPages, writeMappedPages } from "../stream/mapped-pages.js";
import { readPageRecords } from "../stream/page-reader.js";
import { writePageRecords } from "../stream/page-writer.js";
import { RamTarget } from "../stream/ram-target.js";
import { StreamInput } from "../stream/stream-input.js";
import type { PagesMoved, PagesRead, ReadPagesJob, WritePagesJob } from "./channel.js";
import type { DescriptorIo } from "./descriptor-io.js";
import type { ChannelRequest } from "./messages.js";
import { WriteBehind } from "./write-behind.js";

const READ_AHEAD = 2 ** 20;
/** Few enough that the other side of a socket has something to do while the next ones are gathered. */
const PAGES_AT_ONCE = 64;
/** Enough to be worth another thread's waking up. */
const PAGES_BEHIND = 480;

/** Does what the main thread asks; what it returns is posted, with `transfer` moved. */
export function performTask(io: DescriptorIo, request: ChannelRequest, transfer: ArrayBuffer[]): unknown {
  switch (request.op) {
    case "start":
      return undefined;
    case "connect": {
      io.wait(POLLOUT);
      const errno = socketError(io.fd);
      if (errno !== 0) throw io.failed("connect", -errno);
      return undefined;
    }
    case "accept":
      return acceptNext(io);
    case "read": {
      const bytes = new Uint8Array(request.most);
      const read = bytes.subarray(0, io.read(bytes));
      transfer.push(bytes.buffer);
      return read;
    }
    case "write":
      io.write(request.bytes);
      return undefined;
    case "sync":
      fsync(io.fd);
      return undefined;
    case "await-end": {
      const bytes = new Uint8Array(4096);
      while (io.read(bytes) > 0);
      return undefined;
    }
    case "write-pages":
      return writePages(io, request.job);
    case "read-pages":
      return readPages(io, request.job, transfer);
    case "write-mapped":
      return writeMappedPages(io, request.blocks);
    case "read-mapped":
      return readMappedPages(io, request.blocks);
    default:
      throw request satisfies never;
  }
}

function acceptNext(io: DescriptorIo): number {
  for (;;) {
    io.wait(POLLIN);
    const connection = accept(io.fd, { nonblock: true });
    if (connection) return connection.release();
  }
}

function writePages(io: DescriptorIo, job: WritePagesJob): PagesMoved {
  const behind = WriteBehind.open(io);
  const records = writePageRecords(job, io.progress, behind ? PAGES_BEHIND : PAGES_AT_ONCE);
  try {
    for (;;) {
      const step = records.next();
      if (step.done) {
        behind?.finish();
        return step.value;
      }
      if (behind) behind.write(step.value);
      else io.writeVector(step.value);
    }
  } finally {
    behind?.close();
  }
}

function readPages(io: DescriptorIo, job: ReadPagesJob, transfer: ArrayBuffer[]): PagesRead {
  const input = new StreamInput(READ_AHEAD, job.offset, job.streamCrc);
  if (job.ahead.length > 0) input.append(job.ahead);
  const target = new RamTarget(job.blocks, job.pageCrc);
  const records = readPageRecords(input, target, job.continued);
  for (;;) {
    const step = records.next();
    io.progress[0] = input.offset - job.offset;
    io.progress[1] = target.pages;
    io.progress[2] = target.zeroPages;
    if (step.done) {
      const blocks = target.finish();
      const ahead = input.peek().slice();
      transfer.push(ahead.buffer);
      return {
        bytes: input.offset - job.offset,
        pages: target.pages,
        zeroPages: target.zeroPages,
        streamCrc: input.crc,
        pageCrc: target.pageCrc,
        blocks,
        ahead,
        continued: step.value,
      };
    }
    input.filled(io.read(input.room(4096)));
  }
}
