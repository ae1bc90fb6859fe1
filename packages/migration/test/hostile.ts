import { expect } from "@jest/globals";
import { VmstateError } from "../src/vmstate/index.js";

/** What a load returns, or undefined where it refuses as it must: by a typed error that names a place. */
export function decodeOrRefuse(load: () => object): object | undefined {
  try {
    return load();
  } catch (error) {
    if (!(error instanceof VmstateError)) throw error;
    expect(error.path).not.toBe("");
    return undefined;
  }
}
