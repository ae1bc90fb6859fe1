import { type ByteWriter, Place, saveState, type VmstateDescriptor } from "../vmstate/index.js";
import { DescribingSink } from "./describing-sink.js";
import type { DescribedState } from "./description.js";

/** Writes a state and says what it wrote. Throws `VmstateError`. */
export function writeDescribed(
  writer: ByteWriter,
  descriptor: VmstateDescriptor,
  state: unknown,
  path: string,
): DescribedState {
  const sink = new DescribingSink(writer, new Place(path));
  saveState(sink, descriptor, state);
  return sink.description;
}
