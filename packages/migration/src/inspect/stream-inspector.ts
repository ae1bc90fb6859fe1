import { BatonError } from "@baton/linux";
import { crc32 } from "@node-rs/crc32";
import { hexText } from "../hex.js";
import { CHECKSUM_SECTION, type Checksums, checksums } from "../stream/checksums.js";
import { STREAM_COMMANDS } from "../stream/command.js";
import { readConfiguration } from "../stream/configuration.js";
import type { DescribedSection } from "../stream/description.js";
import { bitmapBytes, RAM_VERSION, STREAM_MAGIC, STREAM_PAGE_SIZE, STREAM_VERSION, TAG } from "../stream/format.js";
import { readPageRecords } from "../stream/page-reader.js";
import { type ListedBlock, readRamList, type Seek } from "../stream/ram-list.js";
import { formatSection, sectionKey } from "../stream/section.js";
import { readSectionHead } from "../stream/section-head.js";
import { readUnmeasured } from "../stream/state-reader.js";
import { streamError } from "../stream/stream-error.js";
import type { NeedBytes, StreamInput } from "../stream/stream-input.js";
import { formatUuid } from "../stream/uuid.js";
import { ByteReader, readQemuState, VmstateError } from "../vmstate/index.js";
import { CountingTarget } from "./counting-target.js";
import { DescribedValues } from "./described-value.js";
import type { FoundDescription } from "./find-description.js";
import type {
  InspectedCommand,
  InspectedProblem,
  InspectedSection,
  InspectedStream,
  InspectedValue,
} from "./inspected.js";

/** What the inspector asks of who runs it. */
export type InspectRequest = NeedBytes | Seek;

/** Where the description was found, in bytes from the start of the file. */
export interface DescriptionPlace extends FoundDescription {
  readonly crc: number;
}

const MAX_STATE_BYTES = 64 * 2 ** 20;
const STEP = 2 ** 20;

/** Reads any stream by what it says of itself. A generator, like the reader. */
export class StreamInspector {
  readonly #input: StreamInput;
  readonly #fileBytes: number;
  readonly #found: DescriptionPlace | undefined;
  readonly #readMapped: boolean;
  readonly #values = new DescribedValues();
  readonly #described = new Map<string, DescribedSection>();
  readonly #sections: InspectedSection[] = [];
  readonly #seen = new Set<string>();
  readonly #commands: InspectedCommand[] = [];
  readonly #problems: InspectedProblem[] = [];
  readonly #names = new Map<number, string>();
  #version = 0;
  #machineType: string | undefined;
  #capabilities: readonly string[] = [];
  #uuid: string | undefined;
  #configuration: { readonly [name: string]: InspectedValue } = {};
  #listed: readonly ListedBlock[] = [];
  #target = new CountingTarget([]);
  #continued: string | undefined;
  #sums: { readonly expected: Checksums; readonly stream: number } | undefined;
  #blockSums: { bitmap: number; pages: number }[] = [];
  #checksum: InspectedStream["checksum"] = "absent";

  /** `readMapped` also reads mapped pages, for their checksums. */
  constructor(input: StreamInput, fileBytes: number, found: DescriptionPlace | undefined, readMapped: boolean) {
    this.#input = input;
    this.#fileBytes = fileBytes;
    this.#found = found;
    this.#readMapped = readMapped;
    for (const section of found?.description.devices ?? []) {
      this.#described.set(sectionKey({ idstr: section.name, instanceId: section.instance_id }), section);
    }
  }

  *inspect(): Generator<InspectRequest, InspectedStream, void> {
    try {
      yield* this.#stream();
    } catch (error) {
      this.#problem(error);
    }
    const blocks = this.#listed.map(({ id, size, gpa, mapped }) => ({
      id,
      size,
      ...(gpa === undefined ? {} : { gpa }),
      ...this.#target.countOf(id),
      ...(mapped ? { pagesOffset: mapped.pagesOffset } : {}),
    }));
    const end = this.#found ? this.#found.offset + this.#found.bytes : this.#input.offset;
    return {
      version: this.#version,
      machineType: this.#machineType,
      capabilities: this.#capabilities,
      uuid: this.#uuid,
      configuration: this.#configuration,
      sections: this.#sections,
      commands: this.#commands,
      blocks,
      bytes: end,
      trailingBytes: Math.max(0, this.#fileBytes - end),
      checksum: this.#checksum,
      descriptionBytes: this.#found?.bytes ?? 0,
      problems: this.#problems,
    };
  }

  #problem(error: unknown): void {
    if (!BatonError.is(error)) throw error;
    this.#problems.push({ code: error.code, message: error.message });
  }

  *#stream(): Generator<InspectRequest, void, void> {
    const input = this.#input;
    yield* input.need(8);
    const magic = input.u32();
    this.#version = input.u32();
    if (magic !== STREAM_MAGIC || this.#version !== STREAM_VERSION) {
      const message = `Not a migration stream of version ${STREAM_VERSION}, magic: ${magic.toString(16)}, version ${this.#version}`;
      throw streamError("STREAM_HEADER", message, 0);
    }
    for (;;) {
      const { offset, crc } = input;
      yield* input.need(1);
      const tag = input.u8();
      switch (tag) {
        case TAG.eof:
          return this.#atEnd(offset + 1);
        case TAG.configuration:
          yield* this.#readConfiguration();
          break;
        case TAG.start:
        case TAG.full:
          yield* this.#section(offset, crc);
          break;
        case TAG.part:
        case TAG.end:
          yield* this.#part(offset);
          break;
        case TAG.command:
          yield* this.#command(offset);
          break;
        default:
          throw streamError("STREAM_ELEMENT", `Unknown savevm section type ${tag}`, offset, { tag });
      }
    }
  }

  *#readConfiguration(): Generator<InspectRequest, void, void> {
    const described = this.#found?.description.configuration;
    const { configuration, values } = yield* readUnmeasured(this.#input, "the configuration", STEP, (reader) => {
      const ahead = reader.peek(0, reader.left) ?? new Uint8Array();
      const configuration = readConfiguration(reader);
      const values = described ? this.#values.state(counted(ahead, this.#input.offset), described) : {};
      return { configuration, values };
    });
    this.#machineType = configuration.machineType;
    this.#capabilities = configuration.capabilities;
    this.#uuid = configuration.uuid && formatUuid(configuration.uuid);
    this.#configuration = values;
  }

  *#section(offset: number, crc: number): Generator<InspectRequest, void, void> {
    const input = this.#input;
    const { id, name, version } = yield* readSectionHead(input);
    const { idstr, instanceId } = name;
    this.#names.set(id, idstr);
    const key = sectionKey(name);
    if (this.#seen.has(key)) {
      this.#problem(streamError("STREAM_SECTION_TWICE", `section ${formatSection(name)} came twice`, offset));
    }
    this.#seen.add(key);
    if (idstr === "ram" && instanceId === 0) {
      if (version !== RAM_VERSION) {
        throw streamError("STREAM_SECTION_VERSION", `unsupported version ${version} for 'ram' v${RAM_VERSION}`, offset);
      }
      yield* this.#ramList();
      yield* this.#footer(id);
      return;
    }
    const described = this.#described.get(key);
    if (!described) {
      throw streamError("STREAM_DESCRIPTION", `section ${formatSection(name)} is not described`, offset);
    }
    if (described.version !== undefined && described.version !== version) {
      const message = `section ${formatSection(name)} has version ${version}, its description ${described.version}`;
      this.#problem(streamError("STREAM_DESCRIPTION", message, offset));
    }
    const isChecksum = idstr === CHECKSUM_SECTION;
    const { fields, sums } = yield* readUnmeasured(
      input,
      `section ${formatSection(name)}`,
      MAX_STATE_BYTES,
      (reader) => {
        const ahead = reader.peek(0, reader.left) ?? new Uint8Array();
        reader.truncated = shortage(formatSection(name));
        const fields = this.#values.state(reader, described);
        const sums = isChecksum ? readQemuState(counted(ahead, input.offset), checksums, { version }) : undefined;
        return { fields, sums };
      },
    );
    if (sums) this.#sums = { expected: sums, stream: crc };
    yield* this.#footer(id);
    this.#sections.push({ idstr, instanceId, version, offset, bytes: input.offset - offset, fields });
  }

  *#footer(id: number): Generator<InspectRequest, void, void> {
    const input = this.#input;
    const { offset } = input;
    yield* input.need(1);
    // Old machine types write none.
    if (input.peek()[0] !== TAG.footer) return;
    yield* input.need(5);
    input.skip(1);
    const found = input.u32();
    if (found !== id) {
      const name = this.#names.get(id) ?? "";
      throw streamError("STREAM_FOOTER", `Mismatched section id in footer for ${name}: ${found}, not ${id}`, offset);
    }
  }

  *#ramList(): Generator<InspectRequest, void, void> {
    const ignoreShared = this.#capabilities.includes("x-ignore-shared");
    const mapped = this.#capabilities.includes("mapped-ram");
    this.#listed = yield* readRamList(this.#input, { ignoreShared, mapped });
    this.#target = new CountingTarget(this.#listed);
    const back = this.#input.offset;
    const { crc } = this.#input;
    const places = this.#listed.filter((block) => block.mapped);
    for (const block of places) yield* this.#mappedBlock(block);
    if (places.length > 0) {
      yield { kind: "seek", position: back };
      this.#input.jump(back, crc);
    }
  }

  *#mappedBlock({ id, size, mapped }: ListedBlock): Generator<InspectRequest, void, void> {
    if (!mapped) return;
    const pages = Number(size) / STREAM_PAGE_SIZE;
    const bytes = bitmapBytes(pages);
    if (mapped.bitmapOffset + bytes > this.#fileBytes) {
      throw streamError("STREAM_TRUNCATED", `the bitmap of RAM block '${id}' is beyond the end`, mapped.bitmapOffset);
    }
    let bitmap = 0;
    let content = 0;
    let set = 0;
    for (let at = 0; at < bytes; at += STEP) {
      const part = yield* this.#take(mapped.bitmapOffset + at, Math.min(STEP, bytes - at));
      bitmap = crc32(part, bitmap);
      for (let byte = 0; byte < part.length; byte++) {
        for (let bits = part[byte] as number, page = (at + byte) * 8; bits !== 0; bits >>>= 1, page++) {
          if ((bits & 1) === 0) continue;
          if (page >= pages)
            throw streamError(
              "STREAM_RAM",
              `the bitmap of RAM block '${id}' has bits past its pages`,
              mapped.bitmapOffset,
            );
          set++;
          if (!this.#readMapped) continue;
          content = crc32(yield* this.#take(mapped.pagesOffset + page * STREAM_PAGE_SIZE, STREAM_PAGE_SIZE), content);
        }
      }
    }
    this.#target.add(id, set, pages - set);
    this.#blockSums.push({ bitmap, pages: content });
  }

  /** Bytes from elsewhere in the file. */
  *#take(position: number, length: number): Generator<InspectRequest, Uint8Array, void> {
    const input = this.#input;
    // Pages that follow each other are there already, mostly.
    if (input.offset !== position) {
      yield { kind: "seek", position };
      input.jump(position);
    }
    yield* input.need(length);
    return input.bytes(length);
  }

  *#part(offset: number): Generator<InspectRequest, void, void> {
    const input = this.#input;
    yield* input.need(4);
    const id = input.u32();
    if (this.#names.get(id) !== "ram") {
      throw streamError("STREAM_SECTION_ID", `Unknown savevm section ${id}`, offset, { sectionId: id });
    }
    this.#continued = yield* readPageRecords(input, this.#target, this.#continued);
    yield* this.#footer(id);
  }

  *#command(offset: number): Generator<InspectRequest, void, void> {
    const input = this.#input;
    yield* input.need(4);
    const code = input.u16();
    const length = input.u16();
    const known = STREAM_COMMANDS.find((command) => command.code === code);
    yield* input.need(length);
    const payload = hexText(input.bytes(length));
    this.#commands.push({ name: known?.name ?? `0x${code.toString(16)}`, offset, payload });
    if (!known || (known.length !== null && known.length !== length)) {
      const message = `command ${known?.name ?? code} received with bad length, ${length}`;
      this.#problem(streamError("STREAM_COMMAND", message, offset));
    }
  }

  #atEnd(offset: number): void {
    if (this.#found && this.#found.offset !== offset) {
      const message = `the description is at byte ${this.#found.offset}, not where the stream ends`;
      this.#problem(streamError("STREAM_DESCRIPTION", message, offset));
    }
    for (const [key, { name, instance_id: instanceId }] of this.#described) {
      if (this.#seen.has(key)) continue;
      const message = `section ${formatSection({ idstr: name, instanceId })} is described and not there`;
      this.#problem(streamError("STREAM_SECTION_MISSING", message, offset));
    }
    if (!this.#sums) return;
    const { expected, stream } = this.#sums;
    const wrong: string[] = [];
    if (expected.stream !== stream) wrong.push("the stream");
    if (expected.pages !== this.#target.pageCrc) wrong.push("RAM");
    if (expected.description !== this.#found?.crc) wrong.push("the description");
    if (expected.blocks.length !== this.#blockSums.length) wrong.push("the list of RAM blocks");
    for (const [i, sums] of expected.blocks.entries()) {
      const found = this.#blockSums[i];
      if (sums.bitmap !== found?.bitmap) wrong.push(`the bitmap of RAM block ${i}`);
      else if (this.#readMapped && sums.pages !== found.pages) wrong.push(`RAM block ${i}`);
    }
    const unchecked = expected.blocks.length > 0 && !this.#readMapped;
    this.#checksum = wrong.length > 0 ? "wrong" : unchecked ? "unchecked" : "right";
    for (const what of wrong) {
      this.#problem(streamError("STREAM_CHECKSUM", `the checksum of ${what} does not fit`, offset));
    }
  }
}

/** A reader that says what is missing as states do. */
function counted(bytes: Uint8Array, base: number): ByteReader {
  const reader = new ByteReader(bytes, 0, base);
  reader.truncated = shortage("the configuration");
  return reader;
}

function shortage(path: string) {
  return (needed: number, left: number) =>
    new VmstateError("VMSTATE_TRUNCATED", `needs ${needed} bytes, ${left} are left`, {
      path,
      details: { needed, left },
    });
}
