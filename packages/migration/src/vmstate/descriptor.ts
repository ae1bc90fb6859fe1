import { checkDescriptor } from "./check.js";
import type { Field, NeedsOf, ValueOf } from "./field.js";
import { DEFAULT_PRIORITY } from "./priority.js";

declare const STATE: unique symbol;

/** The members of a state in the order of the stream. */
export type Fields = Readonly<Record<string, Field<unknown, never>>>;
/** The optional parts of a state. */
export type Subsections = Readonly<Record<string, VmstateDescriptor>>;

/**
 * A descriptor without its type: what engines and codecs walk. The callbacks are typed where they are declared, in
 * {@link VmstateOptions}.
 */
export interface VmstateDescriptor {
  /** QEMU's name of the state, at most 255 bytes. */
  readonly name: string;
  /** The version that is written. */
  readonly version: number;
  /** The oldest version that is read. */
  readonly minimumVersion: number;
  readonly priority: number;
  readonly earlySetup: boolean;
  readonly unmigratable: boolean;
  readonly fields: Fields;
  readonly subsections: Subsections;
  needed?(state: unknown): boolean;
  preSave?(state: unknown): unknown;
  postSave?(state: unknown): void;
  preLoad?(local: unknown): unknown;
  postLoad?(state: unknown, version: number): unknown;
}

/** The description of states of type `S`. Written with `satisfies Vmstate<S>`, it fails to compile unless it fits. */
export interface Vmstate<S> extends VmstateDescriptor {
  readonly [STATE]?: (state: S) => S;
}

/** The type of the states that a descriptor describes. */
export type StateOf<D> = D extends { readonly [STATE]?: (state: infer S) => unknown } ? S : never;

type Flat<T> = { [K in keyof T]: T[K] };

/** The type of a state of these fields and subsections. */
export type StateOfFields<F extends Fields, B extends Subsections = Record<never, never>> = Flat<
  { -readonly [K in keyof F as F[K] extends { readonly silent: true } ? never : K]: ValueOf<F[K]> } & {
    // Under `satisfies`, TypeScript infers an index signature where no subsections are given.
    -readonly [K in keyof B as string extends K ? never : K]?: StateOf<B[K]> | undefined;
  }
>;

/** Turns a field that reads members which the state does not have into a type that no field fits. */
export type FittingFields<F extends Fields> = {
  readonly [K in keyof F]: StateOfFields<F> extends NeedsOf<F[K]> ? unknown : { readonly needs: NeedsOf<F[K]> };
};

/** What {@link vmstate} takes. Hooks throw to refuse; the error then is `VMSTATE_HOOK` with theirs as its cause. */
export interface VmstateOptions<F extends Fields, B extends Subsections> {
  /** QEMU's name of the state. A subsection's starts with its parent's, as in `serial/timeout_ipending`. */
  readonly name: string;
  /** The version that is written, an u32. */
  readonly version: number;
  /** The oldest version that is read; the same as `version` unless given. */
  readonly minimumVersion?: number;
  /** States of higher priority are saved, hence loaded, first; see `PRIORITY`. */
  readonly priority?: number;
  /** Saved while the migration is set up, before memory. */
  readonly earlySetup?: boolean;
  /** The device blocks migration. */
  readonly unmigratable?: boolean;
  readonly fields: F & FittingFields<F>;
  /**
   * Parts that are in the stream only where the state has them and their `needed` says so. Where the stream has none,
   * the member is what `local` has, else undefined.
   */
  readonly subsections?: B;
  /** Whether this state is written at all; loading does not ask. True unless given. */
  readonly needed?: (state: StateOfFields<F, B>) => boolean;
  /** The state to write instead. */
  readonly preSave?: (state: StateOfFields<F, B>) => StateOfFields<F, B>;
  /** Called after every save, failed ones too; what it throws counts only if nothing failed before. */
  readonly postSave?: (state: StateOfFields<F, B>) => void;
  /** This side's state to load over: defaults for what the stream may lack. */
  readonly preLoad?: (local: Partial<StateOfFields<F, B>>) => Partial<StateOfFields<F, B>>;
  /** The state to return instead; `version` is that of the stream. */
  readonly postLoad?: (state: StateOfFields<F, B>, version: number) => StateOfFields<F, B>;
}

/**
 * Describes a state: its members in the order of the stream, its versions, its optional parts. The state's type follows
 * from the fields. Throws `VMSTATE_DESCRIPTOR` when the format cannot carry it.
 * QEMU: docs/devel/migration/main.rst, "VMState".
 */
export function vmstate<const F extends Fields, const B extends Subsections = Record<never, never>>(
  options: VmstateOptions<F, B>,
): Vmstate<StateOfFields<F, B>> {
  const descriptor = {
    minimumVersion: options.version,
    priority: DEFAULT_PRIORITY,
    earlySetup: false,
    unmigratable: false,
    subsections: {},
    ...options,
  } as VmstateDescriptor;
  checkDescriptor(descriptor);
  return Object.freeze(descriptor);
}
