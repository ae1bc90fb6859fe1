import { crc32 } from "@node-rs/crc32";
import { readQemuState } from "../vmstate/index.js";
import { CHECKSUM_SECTION, type Checksums, checksums } from "./checksums.js";
import { STREAM_COMMANDS, SWITCHOVER_START } from "./command.js";
import {
  checkConfiguration,
  type IncomingConfiguration,
  readConfiguration,
  type StreamConfiguration,
} from "./configuration.js";
import { LONGEST_DESCRIPTION } from "./description.js";
import { RAM_VERSION, STREAM_MAGIC, STREAM_VERSION, STREAM_VERSION_OBSOLETE, TAG } from "./format.js";
import type { BlockCount, MappedBlock, PageBlock } from "./page-block.js";
import { checkRam, type ListedBlock, pageBlock, readRamList, type Seek, type StreamRam } from "./ram-list.js";
import { checkSections, type ExpectedSection, formatSection, type IncomingSection, sectionKey } from "./section.js";
import { readSectionHead } from "./section-head.js";
import { readUnmeasured } from "./state-reader.js";
import { streamError } from "./stream-error.js";
import type { NeedBytes, StreamInput } from "./stream-input.js";

/** What is expected of a stream. */
export interface ReadStreamContents extends StreamConfiguration {
  /** Filled from the stream, but for ignored blocks. */
  readonly ram: readonly StreamRam[];
  /** In any order. */
  readonly sections: readonly ExpectedSection[];
  /** Whether a stream without checksums is refused; `required` unless given. QEMU's own have none. */
  readonly checksum?: "required" | "if-present";
  /** The most bytes of one section's state; 16 MiB unless given. */
  readonly maxSectionBytes?: number;
}

/** Asks for records of pages to be read up to the end of the section, and answers in `result`. */
export interface ReadPages {
  readonly kind: "pages";
  readonly blocks: readonly PageBlock[];
  readonly pageCrc: number;
  readonly continued: string | undefined;
  result: { pageCrc: number; continued: string | undefined; blocks: readonly BlockCount[] } | undefined;
}

/** Asks for mapped pages to be read, and answers in `result`. */
export interface ReadMapped {
  readonly kind: "mapped";
  readonly blocks: readonly MappedBlock[];
  result: readonly (BlockCount & { readonly bitmapCrc: number; readonly pagesCrc: number })[] | undefined;
}

/** What the parser asks of who runs it. */
export type ReadRequest = NeedBytes | Seek | ReadPages | ReadMapped;

/** What a stream contained, when everything was checked. */
export interface StreamContents {
  readonly configuration: IncomingConfiguration;
  /** In the order of the stream. */
  readonly sections: readonly IncomingSection[];
  readonly blocks: readonly BlockCount[];
  /** Whether there were checksums; they were right then. */
  readonly checksum: boolean;
}

const MAX_SECTION_BYTES = 16 * 2 ** 20;
const MAX_CONFIGURATION_BYTES = 64 * 1024;

/** Parses a stream. A generator: who runs it gives bytes and moves pages as it asks. */
export class StreamReader {
  readonly #input: StreamInput;
  readonly #contents: ReadStreamContents;
  readonly #missing = new Map<string, ExpectedSection>();
  readonly #seen = new Set<string>();
  readonly #sections: IncomingSection[] = [];
  readonly #blocks = new Map<string, BlockCount>();
  #ramId: number | undefined;
  #ramEnded = false;
  #continued: string | undefined;
  #pageCrc = 0;
  #mapped: MappedBlock[] = [];
  #blockSums: { bitmap: number; pages: number }[] = [];
  #sums: { readonly expected: Checksums; readonly stream: number; readonly offset: number } | undefined;
  #capabilities: readonly string[] = [];

  constructor(input: StreamInput, contents: ReadStreamContents) {
    checkRam(contents.ram);
    checkSections(contents.sections, ["ram", CHECKSUM_SECTION]);
    this.#input = input;
    this.#contents = contents;
    for (const section of contents.sections) this.#missing.set(sectionKey(section), section);
  }

  *read(): Generator<ReadRequest, StreamContents, void> {
    const configuration = yield* this.#header();
    for (;;) {
      const { offset, crc } = this.#input;
      yield* this.#input.need(1);
      const tag = this.#input.u8();
      if (tag === TAG.eof) break;
      if (this.#sums) {
        throw streamError("STREAM_ELEMENT", "something follows the checksums", offset);
      }
      switch (tag) {
        case TAG.start:
        case TAG.full:
          yield* this.#section(tag, offset, crc);
          break;
        case TAG.part:
        case TAG.end:
          yield* this.#ramPart(tag, offset);
          break;
        case TAG.command:
          yield* this.#command(offset);
          break;
        default:
          throw streamError("STREAM_ELEMENT", `Unknown savevm section type ${tag}`, offset, { tag });
      }
    }
    this.#checkComplete();
    yield* this.#description();
    return {
      configuration,
      sections: this.#sections,
      blocks: [...this.#blocks.values()],
      checksum: this.#sums !== undefined,
    };
  }

  *#header(): Generator<ReadRequest, IncomingConfiguration, void> {
    const input = this.#input;
    const { offset } = input;
    yield* input.need(9);
    const magic = input.u32();
    if (magic !== STREAM_MAGIC) {
      const message = `Not a migration stream, magic: ${magic.toString(16)} != ${STREAM_MAGIC.toString(16)}`;
      throw streamError("STREAM_HEADER", message, offset, { magic });
    }
    const version = input.u32();
    if (version === STREAM_VERSION_OBSOLETE) {
      throw streamError("STREAM_HEADER", "SaveVM v2 format is obsolete and no longer supported", offset + 4);
    }
    if (version !== STREAM_VERSION) {
      const message = `Unsupported migration stream version, file version ${version.toString(16)} != ${STREAM_VERSION}`;
      throw streamError("STREAM_HEADER", message, offset + 4, { version });
    }
    const tag = input.u8();
    if (tag !== TAG.configuration) {
      const message = `Configuration section missing, ${tag.toString(16)} != ${TAG.configuration}`;
      throw streamError("STREAM_CONFIGURATION", message, offset + 8, { tag });
    }
    const at = input.offset;
    const found = yield* readUnmeasured(input, "the configuration", MAX_CONFIGURATION_BYTES, readConfiguration);
    checkConfiguration(found, this.#contents, at);
    this.#capabilities = found.capabilities;
    return found;
  }

  *#section(tag: number, offset: number, crc: number): Generator<ReadRequest, void, void> {
    const input = this.#input;
    const { id, name, version } = yield* readSectionHead(input);
    const { idstr, instanceId } = name;
    const key = sectionKey(name);
    if (this.#seen.has(key)) {
      throw streamError("STREAM_SECTION_TWICE", `section ${formatSection(name)} came twice`, offset, {
        section: idstr,
      });
    }
    this.#seen.add(key);
    if (idstr === "ram" && instanceId === 0) {
      if (tag !== TAG.start) throw streamError("STREAM_RAM", "section 'ram' has no parts", offset);
      yield* this.#ramStart(id, version, offset);
    } else if (idstr === CHECKSUM_SECTION && instanceId === 0) {
      if (tag !== TAG.full) throw streamError("STREAM_ELEMENT", `section '${idstr}' has parts`, offset);
      this.#checkVersion(idstr, version, checksums.version, offset);
      const read = (reader: Parameters<typeof readQemuState>[0]) => readQemuState(reader, checksums, { version });
      const expected = yield* readUnmeasured(input, `section '${idstr}'`, MAX_SECTION_BYTES, read);
      this.#sums = { expected, stream: crc, offset };
    } else {
      const section = this.#missing.get(key);
      if (!section) {
        throw streamError(
          "STREAM_SECTION_UNKNOWN",
          `Unknown section or instance '${idstr}' ${instanceId}. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices`,
          offset,
          { section: idstr, instanceId },
        );
      }
      this.#missing.delete(key);
      yield* this.#state(section, version, offset);
    }
    yield* this.#footer(name, id);
  }

  #checkVersion(idstr: string, version: number, local: number, offset: number): void {
    if (version <= local) return;
    const message = `unsupported version ${version} for '${idstr}' v${local}`;
    throw streamError("STREAM_SECTION_VERSION", message, offset, { section: idstr, version });
  }

  *#state(section: ExpectedSection, version: number, offset: number): Generator<ReadRequest, void, void> {
    const { idstr, instanceId, descriptor, local } = section;
    this.#checkVersion(idstr, version, descriptor.version, offset);
    const { maxSectionBytes = MAX_SECTION_BYTES } = this.#contents;
    const options = { version, path: idstr, ...(local === undefined ? {} : { local: local as never }) };
    const state = yield* readUnmeasured(this.#input, `section ${formatSection(section)}`, maxSectionBytes, (reader) =>
      readQemuState(reader, descriptor, options),
    );
    section.check?.(state);
    this.#sections.push({ idstr, instanceId, descriptor, version, state });
  }

  *#footer(
    name: { readonly idstr: string; readonly instanceId: number },
    id: number,
  ): Generator<ReadRequest, void, void> {
    const input = this.#input;
    const { offset } = input;
    yield* input.need(1);
    if (input.u8() !== TAG.footer) {
      const message = `Missing section footer for ${name.idstr}`;
      throw streamError("STREAM_FOOTER", message, offset, { section: name.idstr });
    }
    yield* input.need(4);
    const found = input.u32();
    if (found !== id) {
      const message = `Mismatched section id in footer for ${name.idstr} -read 0x${found.toString(16)} expected 0x${id.toString(16)}`;
      throw streamError("STREAM_FOOTER", message, offset, { section: name.idstr, found, expected: id });
    }
  }

  *#ramStart(id: number, version: number, offset: number): Generator<ReadRequest, void, void> {
    if (version !== RAM_VERSION) {
      const message = `unsupported version ${version} for 'ram' v${RAM_VERSION}`;
      throw streamError("STREAM_SECTION_VERSION", message, offset, { section: "ram", version });
    }
    this.#ramId = id;
    const ignoreShared = this.#capabilities.includes("x-ignore-shared");
    const mapped = this.#capabilities.includes("mapped-ram");
    const listed = yield* readRamList(this.#input, { ignoreShared, mapped });
    for (const entry of listed) this.#checkBlock(entry);
    const absent = this.#contents.ram.find(({ block }) => !listed.some(({ id }) => id === block.id));
    if (absent) {
      throw streamError("STREAM_RAM", `RAM block '${absent.block.id}' is not in the stream`, offset);
    }
    if (this.#mapped.length === 0) return;
    const request: ReadMapped = { kind: "mapped", blocks: this.#mapped, result: undefined };
    yield request;
    for (const { bitmapCrc, pagesCrc, ...count } of request.result ?? []) {
      this.#blockSums.push({ bitmap: bitmapCrc, pages: pagesCrc });
      this.#blocks.set(count.id, count);
    }
  }

  #checkBlock({ id, size, gpa, mapped, offset }: ListedBlock): void {
    const ram = this.#contents.ram.find(({ block }) => block.id === id);
    const details = { block: id };
    if (!ram) throw streamError("STREAM_RAM", `Unknown ramblock "${id}", cannot accept migration`, offset, details);
    if (ram.block.size !== size) {
      const message = `Size mismatch: ${id}: 0x${size.toString(16)} != 0x${ram.block.size.toString(16)}`;
      throw streamError("STREAM_RAM", message, offset, details);
    }
    if (ram.ignored && gpa !== undefined && ram.gpa !== undefined && gpa !== ram.gpa) {
      const message = `Mismatched GPAs for block ${id} 0x${gpa.toString(16)} != 0x${ram.gpa.toString(16)}`;
      throw streamError("STREAM_RAM", message, offset, details);
    }
    if (!ram.ignored && !mapped && this.#capabilities.includes("mapped-ram")) {
      throw streamError("STREAM_RAM", `RAM block '${id}' has no pages in the stream`, offset, details);
    }
    if (mapped && !ram.ignored) this.#mapped.push({ block: pageBlock(ram), ...mapped });
  }

  *#ramPart(tag: number, offset: number): Generator<ReadRequest, void, void> {
    const input = this.#input;
    yield* input.need(4);
    const id = input.u32();
    if (id !== this.#ramId || this.#ramEnded) {
      throw streamError("STREAM_SECTION_ID", `Unknown savevm section ${id}`, offset, { sectionId: id });
    }
    const mapped = this.#capabilities.includes("mapped-ram");
    const blocks = mapped ? [] : this.#contents.ram.filter(({ ignored }) => !ignored).map(pageBlock);
    const continued = this.#continued;
    const request: ReadPages = { kind: "pages", blocks, pageCrc: this.#pageCrc, continued, result: undefined };
    yield request;
    if (request.result) {
      this.#pageCrc = request.result.pageCrc;
      this.#continued = request.result.continued;
      for (const { id, pages, zeroPages } of request.result.blocks) {
        const before = this.#blocks.get(id);
        this.#blocks.set(id, {
          id,
          pages: pages + (before?.pages ?? 0),
          zeroPages: zeroPages + (before?.zeroPages ?? 0),
        });
      }
    }
    yield* this.#footer({ idstr: "ram", instanceId: 0 }, id);
    if (tag === TAG.end) this.#ramEnded = true;
  }

  *#command(offset: number): Generator<ReadRequest, void, void> {
    const input = this.#input;
    yield* input.need(4);
    const code = input.u16();
    const length = input.u16();
    const command = STREAM_COMMANDS.find((known) => known.code === code);
    if (!command) {
      const message = `MIG_CMD 0x${code.toString(16)} unknown (len 0x${length.toString(16)})`;
      throw streamError("STREAM_COMMAND", message, offset, { code });
    }
    if (command.length !== null && command.length !== length) {
      const message = `${command.name} received with bad length - expecting ${command.length}, got ${length}`;
      throw streamError("STREAM_COMMAND", message, offset, { command: command.name, length });
    }
    yield* input.need(length);
    input.skip(length);
    if (code !== SWITCHOVER_START) {
      throw streamError("STREAM_COMMAND", `command ${command.name} is not supported`, offset, {
        command: command.name,
      });
    }
  }

  #checkComplete(): void {
    const { offset } = this.#input;
    const [missing] = this.#missing.values();
    if (missing) {
      const message = `the stream ends without section ${formatSection(missing)}`;
      throw streamError("STREAM_SECTION_MISSING", message, offset, { section: missing.idstr });
    }
    if (this.#contents.ram.length > 0 && !this.#ramEnded) {
      throw streamError("STREAM_SECTION_MISSING", "the stream ends without all of section 'ram'", offset);
    }
    if (!this.#sums) {
      if (this.#contents.checksum === "if-present") return;
      throw streamError("STREAM_CHECKSUM_MISSING", `the stream has no section '${CHECKSUM_SECTION}'`, offset);
    }
    const { expected, stream, offset: at } = this.#sums;
    checkSum("the stream", stream, expected.stream, at);
    checkSum("RAM", this.#pageCrc, expected.pages, at);
    if (expected.blockCount !== this.#blockSums.length) {
      throw streamError(
        "STREAM_CHECKSUM",
        `checksums of ${expected.blockCount} RAM blocks, not ${this.#blockSums.length}`,
        at,
      );
    }
    for (const [i, sums] of this.#blockSums.entries()) {
      const id = this.#mapped[i]?.block.id;
      checkSum(`the bitmap of RAM block '${id}'`, sums.bitmap, expected.blocks[i]?.bitmap, at);
      checkSum(`RAM block '${id}'`, sums.pages, expected.blocks[i]?.pages, at);
    }
  }

  *#description(): Generator<ReadRequest, void, void> {
    const input = this.#input;
    const { offset } = input;
    if (!this.#sums) {
      yield* atLeastOne(input);
      if (input.available === 0 || input.peek()[0] !== TAG.description) return;
    }
    yield* input.need(5);
    const head = input.peek().slice(0, 5);
    const tag = input.u8();
    const length = input.u32();
    if (tag !== TAG.description) {
      throw streamError("STREAM_DESCRIPTION", `the description is missing, ${tag} != ${TAG.description}`, offset, {
        tag,
      });
    }
    if (length > LONGEST_DESCRIPTION) {
      throw streamError("STREAM_DESCRIPTION", `a description of ${length} bytes is too long`, offset, { length });
    }
    let sum = crc32(head);
    for (let left = length; left > 0; ) {
      yield* input.need(1);
      const count = Math.min(left, input.available);
      sum = crc32(input.peek().subarray(0, count), sum);
      input.skip(count);
      left -= count;
    }
    if (this.#sums) checkSum("the description", sum, this.#sums.expected.description, offset);
  }
}

/** Waits for a byte or the end. */
function* atLeastOne(input: StreamInput): Generator<NeedBytes, void, void> {
  while (input.available === 0 && !input.ended) yield { kind: "bytes" };
}

function checkSum(what: string, found: number, expected: number | undefined, offset: number): void {
  if (found === expected) return;
  const hex = (sum = 0) => `0x${sum.toString(16).padStart(8, "0")}`;
  const message = `the checksum of ${what} is ${hex(found)}, the stream says ${hex(expected)}`;
  throw streamError("STREAM_CHECKSUM", message, offset, { found, expected });
}
