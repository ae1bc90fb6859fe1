import { crc32 } from "@node-rs/crc32";
import type { Channel, ChannelOptions } from "../channel/channel.js";
import { ByteWriter, isNeeded, type VmstateDescriptor } from "../vmstate/index.js";
import { CHECKSUM_SECTION, type Checksums, checksums } from "./checksums.js";
import { SWITCHOVER_START } from "./command.js";
import { type StreamConfiguration, writeConfiguration } from "./configuration.js";
import { type DescribedSection, type DescribedState, encodeDescription } from "./description.js";
import { RAM_VERSION, STREAM_MAGIC, STREAM_PAGE_SIZE, STREAM_VERSION, TAG } from "./format.js";
import type { BlockCount, MappedBlock } from "./page-block.js";
import type { StreamProgress, StreamSummary } from "./progress.js";
import {
  checkRam,
  pageBlock,
  type StreamRam,
  sortedRam,
  writeListEntry,
  writeListStart,
  writeRamEnd,
} from "./ram-list.js";
import { checkSections, type OutgoingSection, type SectionName } from "./section.js";
import { streamError } from "./stream-error.js";
import { writeDescribed } from "./write-described.js";

/** What goes into a stream. */
export interface WriteStreamContents extends StreamConfiguration {
  readonly ram: readonly StreamRam[];
  /** In the order of the stream. One whose descriptor says that it is not needed is left out. */
  readonly sections: readonly OutgoingSection[];
  /** Whether a section with checksums is written, which other programs do not know; true unless given. */
  readonly checksum?: boolean;
  /** Whether the stream tells that the guest has stopped, which QEMU before 10.0 does not know; true unless given. */
  readonly switchoverStart?: boolean;
}

/** Limits of writing a stream. */
export interface WriteStreamOptions extends ChannelOptions {
  readonly onProgress?: ((progress: StreamProgress) => void) | undefined;
}

/** Bytes that are gathered before they are written. */
const FLUSH_BYTES = 256 * 1024;

class StreamWriter {
  readonly #channel: Channel;
  readonly #contents: WriteStreamContents;
  readonly #options: WriteStreamOptions;
  readonly #startedAt = performance.now();
  readonly #ram: readonly StreamRam[];
  readonly #moved: readonly StreamRam[];
  readonly #mapped: boolean;
  readonly #devices: DescribedSection[] = [];
  readonly #mappedBlocks: MappedBlock[] = [];
  #out = new ByteWriter();
  #crc = 0;
  #pageCrc = 0;
  #bytes = 0;
  #pages = 0;
  #zeroPages = 0;
  #blocks: readonly BlockCount[] = [];
  #blockSums: Checksums["blocks"] = [];
  #nextId = 0;

  constructor(channel: Channel, contents: WriteStreamContents, options: WriteStreamOptions) {
    checkRam(contents.ram);
    checkSections(contents.sections, ["ram", CHECKSUM_SECTION]);
    this.#channel = channel;
    this.#contents = contents;
    this.#options = options;
    this.#ram = sortedRam(contents.ram);
    this.#mapped = contents.capabilities?.includes("mapped-ram") ?? false;
    const ignoreShared = contents.capabilities?.includes("x-ignore-shared") ?? false;
    if (!ignoreShared && this.#ram.some(({ ignored }) => ignored)) {
      throw streamError("STREAM_VALUE", "RAM is ignored only with the capability x-ignore-shared");
    }
    this.#moved = this.#ram.filter(({ ignored }) => !ignored);
    if (this.#mapped) this.#channel.seek(this.#channel.position);
  }

  async #flush(): Promise<void> {
    if (this.#out.length === 0) return;
    const bytes = this.#out.finish();
    this.#out = new ByteWriter();
    this.#crc = crc32(bytes, this.#crc);
    await this.#channel.write(bytes, this.#options);
    this.#bytes += bytes.length;
  }

  #progress(): StreamProgress {
    return {
      bytes: this.#bytes,
      pages: this.#pages,
      zeroPages: this.#zeroPages,
      totalPages: this.#moved.reduce((sum, { block }) => sum + Number(block.size) / STREAM_PAGE_SIZE, 0),
      durationMs: performance.now() - this.#startedAt,
    };
  }

  async write(): Promise<StreamSummary> {
    this.#out.u32(STREAM_MAGIC);
    this.#out.u32(STREAM_VERSION);
    this.#out.u8(TAG.configuration);
    const configuration = writeConfiguration(this.#out, this.#contents);
    const ramId = await this.#ramStart();
    await this.#sections(true);
    if (this.#contents.switchoverStart ?? true) {
      this.#out.u8(TAG.command);
      this.#out.u16(SWITCHOVER_START);
      this.#out.u16(0);
    }
    await this.#ramEnd(ramId);
    await this.#sections(false);
    await this.#end(configuration);
    return { ...this.#progress(), blocks: this.#blocks };
  }

  #header(tag: number, name: SectionName, version: number): number {
    const id = this.#nextId++;
    this.#out.u8(tag);
    this.#out.u32(id);
    this.#out.text(name.idstr);
    this.#out.u32(name.instanceId);
    this.#out.u32(version);
    return id;
  }

  #footer(id: number): void {
    this.#out.u8(TAG.footer);
    this.#out.u32(id);
  }

  async #ramStart(): Promise<number> {
    const options = {
      mapped: this.#mapped,
      ignoreShared: this.#contents.capabilities?.includes("x-ignore-shared") ?? false,
    };
    const id = this.#header(TAG.start, { idstr: "ram", instanceId: 0 }, RAM_VERSION);
    writeListStart(this.#out, this.#ram);
    for (const ram of this.#ram) {
      const place = writeListEntry(this.#out, ram, options, this.#channel.position + this.#out.length);
      if (!place) continue;
      await this.#flush();
      this.#channel.seek(place.pagesOffset + Number(ram.block.size));
      if (!ram.ignored) this.#mappedBlocks.push({ block: pageBlock(ram), ...place });
    }
    writeRamEnd(this.#out);
    this.#footer(id);
    return id;
  }

  async #ramEnd(id: number): Promise<void> {
    this.#out.u8(TAG.end);
    this.#out.u32(id);
    await this.#flush();
    const before = this.#progress();
    const options = {
      ...this.#options,
      onProgress:
        this.#options.onProgress &&
        ((moved: { bytes: number; pages: number; zeroPages: number }) => {
          const { pages, zeroPages } = moved;
          this.#options.onProgress?.({ ...this.#progress(), bytes: before.bytes + moved.bytes, pages, zeroPages });
        }),
    };
    if (this.#mapped) {
      const moved = await this.#channel.writeMappedPages(this.#mappedBlocks, options);
      this.#blockSums = moved.blocks.map(({ bitmapCrc, pagesCrc }) => ({ bitmap: bitmapCrc, pages: pagesCrc }));
      this.#count(moved);
    } else {
      const job = { blocks: this.#moved.map(pageBlock), streamCrc: this.#crc, pageCrc: this.#pageCrc };
      const moved = await this.#channel.writePages(job, options);
      this.#crc = moved.streamCrc;
      this.#pageCrc = moved.pageCrc;
      this.#count(moved);
    }
    writeRamEnd(this.#out);
    this.#footer(id);
  }

  #count(moved: { bytes: number; pages: number; zeroPages: number; blocks: readonly BlockCount[] }): void {
    this.#bytes += moved.bytes;
    this.#pages += moved.pages;
    this.#zeroPages += moved.zeroPages;
    this.#blocks = moved.blocks.map(({ id, pages, zeroPages }) => ({ id, pages, zeroPages }));
  }

  async #sections(early: boolean): Promise<void> {
    for (const section of this.#contents.sections) {
      const { descriptor, state } = section;
      if (descriptor.earlySetup !== early || !isNeeded(descriptor, state)) continue;
      this.#section(section, descriptor, state);
      if (this.#out.length > FLUSH_BYTES) await this.#flush();
    }
  }

  #section(name: SectionName, descriptor: VmstateDescriptor, state: unknown): void {
    const id = this.#header(TAG.full, name, descriptor.version);
    const described = writeDescribed(this.#out, descriptor, state, name.idstr);
    this.#footer(id);
    this.#devices.push({ name: name.idstr, instance_id: name.instanceId, ...described });
  }

  async #end(configuration: DescribedState): Promise<void> {
    const { checksum = true } = this.#contents;
    const sums = { blockCount: this.#blockSums.length, blocks: this.#blockSums, pages: this.#pageCrc };
    const name = { idstr: CHECKSUM_SECTION, instanceId: 0 };
    if (checksum) {
      // Only the shape counts here: the sums are known when the description is.
      const shape = writeDescribed(new ByteWriter(), checksums, { ...sums, stream: 0, description: 0 }, name.idstr);
      this.#devices.push({ name: name.idstr, instance_id: 0, ...shape });
    }
    const json = encodeDescription({ configuration, page_size: STREAM_PAGE_SIZE, devices: this.#devices });
    const tail = new ByteWriter();
    tail.u8(TAG.description);
    tail.u32(json.length);
    tail.bytes(json);
    const description = tail.finish();
    await this.#flush();
    if (checksum) {
      this.#section(name, checksums, { ...sums, stream: this.#crc, description: crc32(description) });
    }
    this.#out.u8(TAG.eof);
    this.#out.bytes(description);
    await this.#flush();
    this.#options.onProgress?.(this.#progress());
  }
}

/**
 * Writes QEMU's main migration stream: configuration, RAM, states, checksums, a description of it all. The guest is
 * stopped and its memory stays mapped until the promise settles. Ending the channel is up to the caller. Throws
 * `STREAM_VALUE` for contents that no stream carries, before anything is written; `VmstateError` for states; the
 * channel's errors. QEMU: docs/devel/migration/main.rst, "Stream structure".
 */
export async function writeStream(
  channel: Channel,
  contents: WriteStreamContents,
  options: WriteStreamOptions = {},
): Promise<StreamSummary> {
  return new StreamWriter(channel, contents, options).write();
}
