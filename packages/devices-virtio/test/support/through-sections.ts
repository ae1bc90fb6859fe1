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
import { expect } from "@jest/globals";
import { virtioSectionsOf } from "../../src/device/section-table.js";
import type { VirtioState } from "../../src/device/state.js";
import type { VsockState } from "../../src/vsock/state.js";

/** Models by the numbers of their devices (virtio 1.2, 5). */
const models: ReadonlyMap<number, string> = new Map([
  [1, "virtio-net"],
  [2, "virtio-blk"],
  [3, "virtio-console"],
  [4, "virtio-rng"],
  [5, "virtio-balloon"],
  [19, "virtio-vsock"],
]);

/** Encodings that carry no descriptors. */
const codecs: readonly (readonly [string, Codec<never>])[] = [
  ["qemu", qemuCodec as unknown as Codec<never>],
  ["json", jsonCodec as unknown as Codec<never>],
  ["protobuf", protobufCodec as unknown as Codec<never>],
];

/** QEMU's encoding in one process, where descriptors are their numbers. */
const withDescriptors = (descriptor: VmstateDescriptor, state: unknown): unknown => {
  const writer = new ByteWriter();
  writeQemuState<unknown>(writer, descriptor, state, { fds: (fd, to) => to.u32(fd) });
  const reader = new ByteReader(writer.finish());
  const loaded = readQemuState<unknown>(reader, descriptor, { fds: (from) => from.u32() });
  if (reader.left > 0) throw new Error(`${reader.left} bytes are left of ${descriptor.name}`);
  return loaded;
};

/**
 * A state as it comes out of its sections, through every encoding; throws unless all give it back as it was. Devices that
 * have no sections keep theirs.
 */
export function throughSections(state: VirtioState): VirtioState {
  const model = isKernelVsock(state) ? "vhost-vsock" : models.get(state.deviceId);
  if (model === undefined || !isKnown(model, state)) return state;
  for (const [name, codec] of codecs) {
    const through = (descriptor: VmstateDescriptor, each: unknown) =>
      codec.decode<unknown>(descriptor, codec.encode<unknown>(descriptor, each));
    expect({ codec: name, state: moved(model, state, "left", through) }).toEqual({
      codec: name,
      state: withoutSockets(state),
    });
  }
  const loaded = moved(model, state, "passed", withDescriptors);
  expect(loaded).toEqual(state);
  return loaded;
}

function moved(
  model: string,
  state: VirtioState,
  sockets: "left" | "passed",
  through: (descriptor: VmstateDescriptor, state: unknown) => unknown,
): VirtioState {
  const sections = virtioSectionsOf(model, sockets);
  if (sections === undefined) throw new Error(`no sections of ${model}`);
  const { main, own } = sections.descriptors(state.queues.length);
  const saved = sections.save("bench", state);
  return sections.join("bench", { main: through(main, saved.main), own: through(own, saved.own) });
}

/** Connections whose sockets were left behind. */
function withoutSockets(state: VirtioState): VirtioState {
  const { connections, handshakes } = state.device as Partial<VsockState>;
  if (connections === undefined || handshakes === undefined) return state;
  const none = { fd: -1, inode: 0n };
  return {
    ...state,
    device: {
      ...(state.device as VsockState),
      connections: connections.map((each) => ({ ...each, ...none })),
      handshakes: handshakes.map((each) => ({ ...each, ...none })),
    },
  };
}

function isKernelVsock({ deviceId, device }: VirtioState): boolean {
  return deviceId === 19 && !("connections" in (device as object));
}

/** A test's own device may have the number of another. */
function isKnown(model: string, { device }: VirtioState): boolean {
  return model === "virtio-rng" ? Object.keys(device as object).length === 0 : true;
}
