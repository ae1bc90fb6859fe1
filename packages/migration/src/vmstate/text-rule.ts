/** The length of a text stands in one byte of streams. */
const LIMIT = 255;
/** It would come back as another character. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Whether `value` is a text that a stream can hold: at most 255 bytes of UTF-8. */
export function isText(value: unknown): value is string {
  return typeof value === "string" && !LONE_SURROGATE.test(value) && new TextEncoder().encode(value).length <= LIMIT;
}
