const BRAND = Symbol.for("baton.BatonError");

/** What went wrong with a state; stable literals. */
export type VmstateErrorCode =
  /** The descriptor itself breaks a rule of the format. */
  | "VMSTATE_DESCRIPTOR"
  /** A state to be saved holds a value that its field cannot carry. */
  | "VMSTATE_VALUE"
  /** The bytes end before the state does. */
  | "VMSTATE_TRUNCATED"
  /** Bytes are left after the state. */
  | "VMSTATE_TRAILING"
  /** Bytes that no writer produces for this field. */
  | "VMSTATE_INVALID"
  /** The incoming version is newer or older than this side can load. */
  | "VMSTATE_VERSION"
  /** A subsection that this side does not know, or one that came twice. */
  | "VMSTATE_SUBSECTION"
  /** A validation field said no. */
  | "VMSTATE_VALIDATION"
  /** A value that must be the same on both sides is not. */
  | "VMSTATE_MISMATCH"
  /** More elements than bytes are left for. */
  | "VMSTATE_COUNT"
  /** The field needs the state of this side, and none was given. */
  | "VMSTATE_LOCAL_MISSING"
  /** The channel cannot carry descriptors of files. */
  | "VMSTATE_FD"
  /** A hook of the descriptor threw; the reason is the cause. */
  | "VMSTATE_HOOK"
  /** The device cannot be migrated. */
  | "VMSTATE_UNMIGRATABLE";

/** Where and with what a {@link VmstateError} happened. */
export interface VmstateErrorOptions {
  /** The failing field, as in `virtio-blk/queue[1]/last_avail`. */
  readonly path: string;
  /** Bytes from the start of the encoded state, where there is one. */
  readonly offset?: number | undefined;
  /** Further facts by name: plain values only. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly cause?: unknown;
}

/**
 * The error of everything in vmstate. `BatonError.is` and `instanceof BatonError` of `@baton/linux` recognise it by
 * its brand, so that callers have one kind of error to catch; it is a class of its own because that package loads a
 * native library and vmstate imports nothing.
 */
export class VmstateError extends Error {
  readonly code: VmstateErrorCode;
  /** The failing field, as in `virtio-blk/queue[1]/last_avail`. */
  readonly path: string;
  /** Bytes from the start of the encoded state to the item that failed. */
  declare readonly offset?: number;
  /** Further facts by name; path and offset are among them. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: VmstateErrorCode, message: string, options: VmstateErrorOptions) {
    const { path, offset, details, cause } = options;
    const at = offset === undefined ? "" : ` (at byte ${offset})`;
    super(`${path}: ${message}${at}`, cause === undefined ? {} : { cause });
    this.code = code;
    this.path = path;
    this.details = { ...details, path, ...(offset === undefined ? {} : { offset }) };
    if (offset !== undefined) this.offset = offset;
    Object.defineProperty(this, BRAND, { value: true });
  }
}

// A bundler may rename the class.
Object.defineProperty(VmstateError.prototype, "name", { value: "VmstateError", configurable: true, writable: true });
