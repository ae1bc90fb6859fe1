import type { Vmstate, VmstateDescriptor } from "./descriptor.js";
import type { Field } from "./field.js";
import type { Place } from "./place.js";

/** Integers that are `number` in a state. */
export type IntegerType = "uint8" | "int8" | "uint16" | "int16" | "uint32" | "int32";

/** Integers that are `bigint` in a state. */
export type WideType = "uint64" | "int64";

/**
 * How elements follow each other: `plain` (their number is known from elsewhere), `marked` (each is announced, the
 * end too), `counted` (their number first, then marked).
 */
export type Framing = "plain" | "marked" | "counted";

/** What a codec implements to write a state: it is told every item in order, with values that were checked. */
export interface Sink {
  readonly place: Place;
  integer(type: IntegerType, value: number): void;
  wide(type: WideType, value: bigint): void;
  bool(value: boolean): void;
  /** Bytes whose number both sides know. */
  bytes(value: Uint8Array): void;
  /** At most 255 bytes of UTF-8, with their length. */
  text(value: string): void;
  /** Space that nobody uses, in bytes. */
  unused(length: number): void;
  /** Stands where an element of an array of pointers is absent. */
  nullPointer(): void;
  /** An open file, by its number in this process. */
  fd(fd: number): void;
  /** A state of this descriptor and version; without them, a pair that has no descriptor. */
  beginStruct(descriptor?: VmstateDescriptor, version?: number): void;
  /** The member that follows: its name in the state, and its field, which descriptions of streams tell of. */
  member(name: string, field?: Field<unknown, never>): void;
  endStruct(): void;
  beginElements(framing: Framing, length: number): void;
  element(framing: Framing): void;
  endElements(framing: Framing): void;
  beginSubsection(name: string, version: number): void;
  endSubsection(): void;
}

/** A subsection as it came in. */
export interface IncomingSubsection {
  readonly name: string;
  readonly version: number;
}

/** What a codec implements to read a state. Every byte is hostile: it throws through `place.error`. */
export interface Source {
  readonly place: Place;
  integer(type: IntegerType): number;
  wide(type: WideType): bigint;
  bool(): boolean;
  /** A copy of `length` bytes; throws before it allocates when they are not there. */
  bytes(length: number): Uint8Array;
  text(): string;
  unused(length: number): void;
  /** Consumes what stands for an absent pointer and says that it did, or that the element is there. */
  nullPointer(expected: boolean): boolean;
  fd(): number;
  beginStruct(): void;
  /** The member that follows: its name in the state, and in descriptions of streams where that differs. */
  member(name: string, streamName?: string): void;
  endStruct(): void;
  /**
   * Starts elements of at least `minimumBytes` each. `length` is given for `plain`. Returns how many there must be,
   * undefined when only the marks tell; throws `VMSTATE_COUNT` when so many cannot follow.
   */
  beginElements(framing: Framing, minimumBytes: number, length: number | undefined): number | undefined;
  /** Whether another element follows; only for marked and counted elements. */
  hasElement(): boolean;
  /** Goes to element `index`, which follows. */
  element(index: number): void;
  endElements(framing: Framing): void;
  /** The next subsection of `parent`, known or not; undefined when none follows. */
  nextSubsection(parent: VmstateDescriptor): IncomingSubsection | undefined;
  endSubsection(): void;
}

/** What every codec takes to load a state. */
export interface DecodeOptions<S> {
  /** The version that the state was saved with; the descriptor's own unless given or carried by the encoding. */
  readonly version?: number;
  /**
   * The state of this side before the load, as after a reset: what equality fields and arrays of pointers are compared
   * with, and what stays where the stream has nothing.
   */
  readonly local?: Partial<S>;
  /** The first part of the paths in errors; the descriptor's name unless given. */
  readonly path?: string;
}

/** What every codec takes to save a state. */
export interface EncodeOptions {
  /** The first part of the paths in errors; the descriptor's name unless given. */
  readonly path?: string;
}

/** An encoding of states. Both functions throw `VmstateError` and return nothing that is half done. */
export interface Codec<Encoded> {
  readonly encode: <S>(descriptor: Vmstate<S>, state: S, options?: EncodeOptions) => Encoded;
  readonly decode: <S>(descriptor: Vmstate<S>, encoded: Encoded, options?: DecodeOptions<S>) => S;
}
