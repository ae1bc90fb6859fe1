import type { Sink, Source } from "./codec.js";
import type { VmstateDescriptor } from "./descriptor.js";
import type { Count } from "./field/count.js";

declare const NEEDS: unique symbol;

/** The struct that a field stands in while it is saved. */
export interface SaveScope {
  /** The whole struct. */
  readonly state: Readonly<Record<string, unknown>>;
  /** The version that it is saved as. */
  readonly version: number;
}

/** The struct that a field stands in while it is loaded. */
export interface LoadScope {
  /** What was loaded of the struct so far. */
  readonly state: Readonly<Record<string, unknown>>;
  /** The version of the struct in the stream. */
  readonly version: number;
  /** This side's value of the field before the load. */
  readonly local: unknown;
}

/**
 * How one value of a state is carried. `T` is the value's type; `Needs` is what the field reads of the struct that it
 * stands in, such as the member with its count.
 */
export interface Field<T, Needs = unknown> {
  /** QEMU's name of the encoding, as in `uint32`, for descriptions of streams. */
  readonly type: string;
  /** The fewest bytes that any value takes in QEMU's encoding; counts are checked against it. */
  readonly minimumBytes: number;
  /** The name in streams where it differs from the member's. */
  readonly streamName?: string;
  /** The struct in it, if any. */
  readonly struct?: VmstateDescriptor;
  /** The version that it is always written and read as, where that is not the descriptor's own. */
  readonly structVersion?: number;
  /** Whether a struct of {@link Field.struct} is the last thing that the field writes. */
  readonly endsWithStruct?: boolean;
  /** What each of several values is carried by; for a tree, the values of its nodes. */
  readonly element?: Field<unknown, never>;
  /** What the keys of a tree are carried by. */
  readonly key?: Field<unknown, never>;
  /** How many elements, bytes or bits there are, where the descriptor says so. */
  readonly count?: Count;
  /** Whether elements may be absent. */
  readonly nullable?: boolean;
  /** The members that it reads: they must stand before it. */
  readonly reads?: readonly string[];
  /** The version of the struct that it came with, where that alone decides. */
  readonly since?: number;
  /** Whether the field is in a stream of this version; always, unless given. `state` is complete up to the field. */
  exists?(state: Readonly<Record<string, unknown>>, version: number): boolean;
  /** The value where the field does not exist in the stream and this side has none. */
  fallback?(): unknown;
  save(sink: Sink, value: T, scope: SaveScope): void;
  load(source: Source, scope: LoadScope): T;
  readonly [NEEDS]?: (needs: Needs) => void;
}

/** A field without a member in the state, such as unused space. */
export interface SilentField<Needs = unknown> extends Field<undefined, Needs> {
  readonly silent: true;
}

/** What a field reads of its struct. */
export type NeedsOf<F> = F extends { readonly [NEEDS]?: (needs: infer Needs) => void } ? Needs : unknown;

/** The value that a field carries. */
export type ValueOf<F> = F extends Field<infer T, never> ? T : never;
