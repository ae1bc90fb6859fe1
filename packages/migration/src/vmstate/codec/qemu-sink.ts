import type { Framing, IntegerType, Sink, WideType } from "../codec.js";
import type { Place } from "../place.js";
import type { ByteWriter } from "./byte-writer.js";
import { MARK_ELEMENT, MARK_END, NULL_POINTER, type QemuFdWriter, SUBSECTION } from "./qemu-format.js";

/** Writes a state as QEMU does: fields one after the other, without tags, lengths or padding. */
export class QemuSink implements Sink {
  readonly place: Place;
  readonly #writer: ByteWriter;
  readonly #fds: QemuFdWriter | undefined;

  constructor(writer: ByteWriter, place: Place, fds?: QemuFdWriter) {
    this.#writer = writer;
    this.place = place;
    this.#fds = fds;
  }

  integer(type: IntegerType, value: number): void {
    switch (type) {
      case "uint8":
      case "int8":
        this.#writer.u8(value);
        break;
      case "uint16":
      case "int16":
        this.#writer.u16(value);
        break;
      case "uint32":
      case "int32":
        this.#writer.u32(value);
        break;
    }
  }

  wide(_type: WideType, value: bigint): void {
    this.#writer.u64(value);
  }

  bool(value: boolean): void {
    this.#writer.u8(value ? 1 : 0);
  }

  bytes(value: Uint8Array): void {
    this.#writer.bytes(value);
  }

  text(value: string): void {
    this.#writer.text(value);
  }

  unused(length: number): void {
    this.#writer.zeros(length);
  }

  nullPointer(): void {
    this.#writer.u8(NULL_POINTER);
  }

  fd(fd: number): void {
    if (!this.#fds) throw this.place.error("VMSTATE_FD", "this channel carries no descriptors");
    this.#fds(fd, this.#writer);
  }

  beginElements(framing: Framing, length: number): void {
    if (framing === "counted") this.#writer.u32(length);
  }

  element(framing: Framing): void {
    if (framing !== "plain") this.#writer.u8(MARK_ELEMENT);
  }

  endElements(framing: Framing): void {
    if (framing !== "plain") this.#writer.u8(MARK_END);
  }

  beginSubsection(name: string, version: number): void {
    this.#writer.u8(SUBSECTION);
    this.#writer.text(name);
    this.#writer.u32(version);
  }

  // The encoding has no tags for these.
  beginStruct(): void {}
  member(): void {}
  endStruct(): void {}
  endSubsection(): void {}
}
