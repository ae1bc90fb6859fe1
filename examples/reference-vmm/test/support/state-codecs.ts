import { protobufCodec } from "@baton/migration/protobuf";
import {
  ByteReader,
  ByteWriter,
  type Codec,
  jsonCodec,
  qemuCodec,
  readQemuState,
  type VmstateDescriptor,
  writeQemuState,
} from "@baton/migration/vmstate";
import {
  joinSections,
  type MachineInventory,
  type MachineState,
  type SectionOptions,
  saveSections,
  sectionsOf,
} from "../../src/index.js";

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
  erased("protobuf", protobufCodec, (bytes) => bytes.slice()),
];

/** The encoding of a round: each has its turn. */
export function codecOf(round: number): StateCodec {
  return stateCodecs[round % stateCodecs.length] as StateCodec;
}

/** QEMU's encoding over a channel that carries descriptors: within one process these are their numbers. */
export const descriptorCodec: StateCodec = {
  name: "qemu with descriptors",
  encode(descriptor, state) {
    const writer = new ByteWriter();
    writeQemuState<unknown>(writer, descriptor, state, { fds: (fd, to) => to.u32(fd) });
    return writer.finish();
  },
  decode(descriptor, encoded) {
    const reader = new ByteReader(encoded as Uint8Array);
    const state = readQemuState<unknown>(reader, descriptor, { fds: (from) => from.u32() });
    if (reader.left > 0) throw new Error(`${reader.left} bytes are left of ${descriptor.name}`);
    return state;
  },
};

/** A machine's state as a process finds it that was given its sections, each in this encoding. */
export function throughCodec(
  codec: StateCodec,
  state: MachineState,
  inventory: MachineInventory,
  options?: SectionOptions,
): MachineState {
  const stream = new Map(
    saveSections(state, inventory, options).map(({ idstr, instanceId, descriptor, state: each }) => [
      `${idstr} ${instanceId}`,
      codec.encode(descriptor, each),
    ]),
  );
  const sections = sectionsOf(inventory, options).map(({ idstr, instanceId, descriptor }) => ({
    idstr,
    instanceId,
    state: codec.decode(descriptor, stream.get(`${idstr} ${instanceId}`)),
  }));
  return joinSections(sections, inventory, options);
}

/** A state whose connections have left their sockets behind. */
export function withoutSockets(state: MachineState): MachineState {
  const none = { fd: -1, inode: 0n };
  const bare = (each: unknown) => (Array.isArray(each) ? each.map((item: object) => ({ ...item, ...none })) : each);
  const virtio = state.devices.virtio.map(({ id, state: device }) => {
    const own = device.device as Readonly<Record<string, unknown>>;
    if (!("connections" in own)) return { id, state: device };
    const { connections, handshakes } = own;
    return {
      id,
      state: { ...device, device: { ...own, connections: bare(connections), handshakes: bare(handshakes) } },
    };
  });
  return { ...state, devices: { ...state.devices, virtio } };
}
