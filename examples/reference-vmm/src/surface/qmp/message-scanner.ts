import { BatonError } from "@baton/linux";
import { isWordChar, shown, syntaxError } from "./json-parser.js";

/** What {@link MessageScanner.next} finds: the bytes of one JSON text, or an error to tell the client about. */
export type ScannedMessage =
  | { readonly kind: "text"; readonly bytes: Uint8Array }
  | { readonly kind: "error"; readonly error: BatonError };

/** The longest message, in bytes, that is read, and the deepest. */
export const MAX_MESSAGE_BYTES = 4 << 20;
export const MAX_NESTING = 1024;

const [QUOTE, APOSTROPHE, BACKSLASH] = [0x22, 0x27, 0x5c];
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d];
const [COLON, COMMA] = [0x3a, 0x2c];
const isSpace = (byte: number) => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
/** Bytes that never stand in a string: after junk, they lead back to order. */
const isReset = (byte: number) => byte < 0x20 || byte >= 0xfe;

/**
 * Cuts a stream of bytes into JSON texts. A text is complete with its last bracket, quote or digit; line ends mean
 * nothing, except after junk: junk is answered with one error, then skipped, to the end of the object that it stands in or
 * to where another begins, and at most to the next control character or byte 0xff. Memory is bounded by the longest
 * message.
 */
export class MessageScanner {
  readonly #chunks: Uint8Array[] = [];
  #position = 0;
  #message = new ByteBuffer();
  #state: "between" | "nested" | "word" | "skipping" | "junk" = "between";
  #depth = 0;
  /** The quote that ends the string that the scanner is in; 0 outside strings. */
  #quote = 0;
  #escaped = false;
  /** The last byte of the message that was no space, as it was outside strings. */
  #last = 0;

  /** Adds what has been received. */
  push(chunk: Uint8Array): void {
    if (chunk.byteLength > 0) this.#chunks.push(chunk);
  }

  /** How many bytes wait to be scanned. */
  get backlog(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0) - this.#position;
  }

  /** The next message; undefined until more has been received. */
  next(): ScannedMessage | undefined {
    for (;;) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) return undefined;
      const found = this.#scan(chunk);
      if (this.#position >= chunk.byteLength) {
        this.#chunks.shift();
        this.#position = 0;
      }
      if (found !== undefined) return found;
    }
  }

  /** Scans the chunk on until a message ends or the chunk does. */
  #scan(chunk: Uint8Array): ScannedMessage | undefined {
    let start = this.#position;
    while (this.#position < chunk.byteLength) {
      const byte = chunk[this.#position] as number;
      const wasApart = this.#state === "between" || this.#state === "junk";
      const step = this.#step(byte);
      if (wasApart) start = this.#position;
      if (step === "lookahead") return this.#complete(chunk.subarray(start, this.#position));
      this.#position++;
      if (step === "complete") return this.#complete(chunk.subarray(start, this.#position));
      if (typeof step === "object") return this.#fail(step, byte);
      const pending = this.#state === "nested" || this.#state === "word" ? this.#position - start : 0;
      if (pending + this.#message.length > MAX_MESSAGE_BYTES) {
        const limit = `JSON message size limit of ${MAX_MESSAGE_BYTES} bytes exceeded`;
        return this.#fail(new BatonError("JSON_LIMIT", limit), byte);
      }
    }
    if (this.#state === "nested" || this.#state === "word") this.#message.append(chunk.subarray(start));
    return undefined;
  }

  /** Takes one byte in: goes on, ends the message with or before the byte, or finds an error. */
  #step(byte: number): "on" | "complete" | "lookahead" | BatonError {
    switch (this.#state) {
      case "between":
        return this.#begin(byte);
      case "word":
        if (isWordChar(byte)) return "on";
        return "lookahead";
      case "nested":
        return this.#nested(byte);
      case "skipping":
        this.#skip(byte);
        return "on";
      case "junk":
        if (byte === OPEN_BRACE) return this.#begin(byte);
        if (isReset(byte)) this.#state = "between";
        return "on";
      default:
        return this.#state satisfies never;
    }
  }

  #begin(byte: number): "on" | BatonError {
    if (isSpace(byte)) return "on";
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET || byte === QUOTE || byte === APOSTROPHE) {
      this.#state = "nested";
      if (byte === QUOTE || byte === APOSTROPHE) this.#quote = byte;
      else this.#depth = 1;
      this.#last = byte;
      return "on";
    }
    if (isWordChar(byte)) {
      this.#state = "word";
      return "on";
    }
    const isMark = byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte === COLON || byte === COMMA;
    return isMark ? syntaxError("expecting value") : stray(byte);
  }

  #nested(byte: number): "on" | "complete" | BatonError {
    if (this.#quote !== 0) {
      if (isReset(byte)) return stray(byte);
      this.#string(byte);
      return this.#quote === 0 && this.#depth === 0 ? "complete" : "on";
    }
    if (isSpace(byte)) return "on";
    const last = this.#last;
    this.#last = byte;
    if (byte === QUOTE || byte === APOSTROPHE) this.#quote = byte;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (++this.#depth > MAX_NESTING) return new BatonError("JSON_LIMIT", "JSON nesting depth limit exceeded");
      // Found here already: the message would otherwise swallow those that follow it.
      if (last === OPEN_BRACE) return syntaxError("key is not a string in object");
      if (last !== COLON && last !== COMMA && last !== OPEN_BRACKET) return syntaxError("expected separator");
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      if (--this.#depth === 0) return "complete";
    } else if (byte !== COLON && byte !== COMMA && !isWordChar(byte)) return stray(byte);
    return "on";
  }

  /** After an error within a message: on to its end, or to a byte that resets. */
  #skip(byte: number): void {
    if (isReset(byte)) {
      this.#reset();
      return;
    }
    if (this.#quote !== 0) this.#string(byte);
    else if (byte === QUOTE || byte === APOSTROPHE) this.#quote = byte;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) this.#depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) this.#depth--;
    if (this.#quote === 0 && this.#depth === 0) this.#reset();
  }

  #reset(): void {
    this.#state = "between";
    this.#depth = 0;
    this.#quote = 0;
    this.#escaped = false;
  }

  #string(byte: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (byte === BACKSLASH) this.#escaped = true;
    else if (byte === this.#quote) this.#quote = 0;
  }

  #complete(tail: Uint8Array): ScannedMessage {
    const bytes = this.#message.take(tail);
    this.#reset();
    return { kind: "text", bytes };
  }

  #fail(error: BatonError, byte: number): ScannedMessage {
    this.#message.clear();
    if (isReset(byte)) this.#reset();
    else this.#state = this.#quote === 0 && this.#depth === 0 ? "junk" : "skipping";
    return { kind: "error", error };
  }
}

function stray(byte: number): BatonError {
  return syntaxError(`stray '${shown(String.fromCharCode(byte))}'`);
}

/** Bytes that grow at the end, without a slice of memory for each addition. */
class ByteBuffer {
  #bytes = new Uint8Array(0);
  length = 0;

  append(bytes: Uint8Array): void {
    const length = this.length + bytes.byteLength;
    if (length > this.#bytes.byteLength) {
      const grown = new Uint8Array(Math.max(4096, length * 2));
      grown.set(this.#bytes.subarray(0, this.length));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.length);
    this.length = length;
  }

  /** Everything with `tail` after it; the buffer is empty then. */
  take(tail: Uint8Array): Uint8Array {
    if (this.length === 0) return tail;
    this.append(tail);
    const all = this.#bytes.subarray(0, this.length);
    this.clear();
    return all;
  }

  clear(): void {
    this.#bytes = new Uint8Array(0);
    this.length = 0;
  }
}
