import { expect } from "@jest/globals";

// Jest compares arrays of bytes element by element, a second for a MiB; where they are not equal it still does.
expect.addEqualityTesters([
  (a: unknown, b: unknown) =>
    a instanceof Uint8Array &&
    b instanceof Uint8Array &&
    Object.getPrototypeOf(a) === Object.getPrototypeOf(b) &&
    Buffer.compare(a, b) === 0
      ? true
      : undefined,
]);
