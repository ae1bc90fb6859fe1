import { type Codec, jsonCodec, qemuCodec, type VmstateDescriptor } from "@baton/migration/vmstate";
import { joinSections, type MachineInventory, type MachineState, saveSections, sectionsOf } from "../../src/index.js";

/** An encoding of states whatever it makes of them. */
export interface StateCodec {
  readonly name: string;
  encode(descriptor: VmstateDescriptor, state: unknown): unknown;
  decode(descriptor: VmstateDescriptor, encoded: unknown): unknown;
}

function erased<Encoded>(name: string, codec: Codec<Encoded>, carry: (encoded: Encoded) => Encoded): StateCodec {
  return {
    name,
    encode: (descriptor, state) => codec.encode<unknown>(descriptor, state),
    decode: (descriptor, encoded) => codec.decode<unknown>(descriptor, carry(encoded as Encoded)),
  };
}

/** Every encoding that there is; JSON goes through its text. */
export const stateCodecs: readonly StateCodec[] = [
  erased("qemu", qemuCodec, (bytes) => bytes.slice()),
  erased("json", jsonCodec, (json) => JSON.parse(JSON.stringify(json)) as typeof json),
];

/** A machine's state as a process finds it that was given its sections, each in this encoding. */
export function throughCodec(codec: StateCodec, state: MachineState, inventory: MachineInventory): MachineState {
  const stream = new Map(
    saveSections(state, inventory).map(({ idstr, instanceId, descriptor, state: each }) => [
      `${idstr} ${instanceId}`,
      codec.encode(descriptor, each),
    ]),
  );
  const sections = sectionsOf(inventory).map(({ idstr, instanceId, descriptor }) => ({
    idstr,
    instanceId,
    state: codec.decode(descriptor, stream.get(`${idstr} ${instanceId}`)),
  }));
  return joinSections(sections, inventory);
}
