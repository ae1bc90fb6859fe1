import { VmstateError, type VmstateErrorCode } from "./error.js";

/** Where a save or a load stands: the path from the root to the present field, and the byte where one is known. */
export class Place {
  readonly #segments: (string | number)[];
  readonly #offset: (() => number) | undefined;

  /** `offset` tells where the item that is being read starts. */
  constructor(root: string, offset?: () => number) {
    this.#segments = [root];
    this.#offset = offset;
  }

  /** Goes into a member (by name) or an element (by index). */
  enter(segment: string | number): void {
    this.#segments.push(segment);
  }

  leave(): void {
    this.#segments.pop();
  }

  /** As in `virtio-blk/queue[1]/last_avail`. */
  toString(): string {
    let text = "";
    for (const segment of this.#segments) {
      if (typeof segment === "number") text += `[${segment}]`;
      else text += text === "" ? segment : `/${segment}`;
    }
    return text;
  }

  /** An error that names this place. */
  error(code: VmstateErrorCode, message: string, details?: Readonly<Record<string, unknown>>, cause?: unknown) {
    return new VmstateError(code, message, { path: this.toString(), offset: this.#offset?.(), details, cause });
  }
}
