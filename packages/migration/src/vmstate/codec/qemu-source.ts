import type { Framing, IncomingSubsection, IntegerType, Source, WideType } from "../codec.js";
import type { VmstateDescriptor } from "../descriptor.js";
import type { Place } from "../place.js";
import type { ByteReader } from "./byte-reader.js";
import { MARK_ELEMENT, MARK_END, NULL_POINTER, type QemuFdReader, SUBSECTION } from "./qemu-format.js";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Bytes before the name: the tag and the length. */
const SUBSECTION_HEADER = 2;

/** Reads a state as QEMU writes it. */
export class QemuSource implements Source {
  readonly place: Place;
  readonly #reader: ByteReader;
  readonly #fds: QemuFdReader | undefined;

  constructor(reader: ByteReader, place: Place, fds?: QemuFdReader) {
    this.#reader = reader;
    this.place = place;
    this.#fds = fds;
    reader.truncated = (needed, left) =>
      place.error("VMSTATE_TRUNCATED", `needs ${needed} bytes, ${left} are left`, { needed, left });
  }

  integer(type: IntegerType): number {
    switch (type) {
      case "uint8":
        return this.#reader.u8();
      case "int8":
        return (this.#reader.u8() << 24) >> 24;
      case "uint16":
        return this.#reader.u16();
      case "int16":
        return (this.#reader.u16() << 16) >> 16;
      case "uint32":
        return this.#reader.u32();
      case "int32":
        return this.#reader.u32() | 0;
    }
  }

  wide(type: WideType): bigint {
    const value = this.#reader.u64();
    return type === "uint64" ? value : BigInt.asIntN(64, value);
  }

  bool(): boolean {
    return this.#flag("a boolean is 0 or 1");
  }

  #flag(rule: string): boolean {
    const byte = this.#reader.u8();
    if (byte > 1) throw this.place.error("VMSTATE_INVALID", `${rule}, not ${byte}`, { byte });
    return byte === 1;
  }

  bytes(length: number): Uint8Array {
    return this.#reader.bytes(length);
  }

  text(): string {
    const bytes = this.#reader.bytes(this.#reader.u8());
    try {
      return utf8.decode(bytes);
    } catch {
      throw this.place.error("VMSTATE_INVALID", "is no UTF-8");
    }
  }

  unused(length: number): void {
    this.#reader.skip(length);
  }

  nullPointer(expected: boolean): boolean {
    if (!expected) return false;
    const byte = this.#reader.u8();
    if (byte !== NULL_POINTER) {
      throw this.place.error("VMSTATE_MISMATCH", `is null on this side, but byte ${byte} came`, { byte });
    }
    return true;
  }

  fd(): number {
    if (!this.#fds) throw this.place.error("VMSTATE_FD", "this channel carries no descriptors");
    return this.#fds(this.#reader);
  }

  beginElements(framing: Framing, minimumBytes: number, length: number | undefined): number | undefined {
    if (framing === "marked") return undefined;
    const count = framing === "counted" ? this.#reader.u32() : length!;
    const needed = framing === "counted" ? count * (minimumBytes + 1) + 1 : count * minimumBytes;
    const { left } = this.#reader;
    if (needed > left) {
      throw this.place.error("VMSTATE_COUNT", `${count} elements need ${needed} bytes, ${left} are left`, {
        count,
        needed,
        left,
      });
    }
    return count;
  }

  hasElement(): boolean {
    return this.#flag(`a mark is ${MARK_ELEMENT} or ${MARK_END}`);
  }

  /**
   * A name that does not start with the parent's, or is no longer, belongs to a struct further out. QEMU's rule:
   * vmstate_subsection_load() in migration/vmstate.c.
   */
  nextSubsection(parent: VmstateDescriptor): IncomingSubsection | undefined {
    const header = this.#reader.peek(0, SUBSECTION_HEADER);
    if (header?.[0] !== SUBSECTION) return undefined;
    const prefix = new TextEncoder().encode(parent.name);
    if (header[1]! <= prefix.length) return undefined;
    const peeked = this.#reader.peek(SUBSECTION_HEADER, header[1]!);
    if (!peeked || prefix.some((byte, i) => peeked[i] !== byte)) return undefined;
    this.#reader.skip(1);
    const name = this.text();
    return { name, version: this.#reader.u32() };
  }

  // The encoding has no tags for these.
  beginStruct(): void {}
  member(): void {}
  endStruct(): void {}
  element(): void {}
  endElements(): void {}
  endSubsection(): void {}
}
