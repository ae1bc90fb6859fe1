import {
  bool,
  buffer,
  existsIf,
  fd,
  list,
  type StateOf,
  struct,
  text,
  u8,
  u32,
  u64,
  vmstate,
} from "@baton/migration/vmstate";
import { type VirtioSections, virtioSections } from "../device/sections.js";
import type { ConnectionPhase } from "./connection.js";
import type { SavedSocket, VsockState } from "./state.js";
import type { VhostVsockState } from "./vhost-device.js";

/** Whether the sockets of connections go with the state, over a channel that carries descriptors, or are left behind. */
export type SavedSockets = "passed" | "left";

const ports = vmstate({ name: "baton/vsock-ports", version: 1, fields: { hostPort: u32, guestPort: u32 } });

function socketOf(sockets: SavedSockets) {
  const passed = () => sockets === "passed";
  return { inode: existsIf([], passed, u64, 0n), fd: existsIf([], passed, fd, -1) } as const;
}

function ownVmstate(sockets: SavedSockets) {
  const connection = vmstate({
    name: "baton/vsock-connection",
    version: 1,
    fields: {
      hostPort: u32,
      guestPort: u32,
      phase: text,
      owesRequest: bool,
      owesResponse: bool,
      peerBufAlloc: u32,
      peerFwdCnt: u32,
      sentToPeer: u32,
      fwdCnt: u32,
      toldFwdCnt: u32,
      pendingBytes: u32,
      pending: buffer("pendingBytes"),
      guestShutdown: u8,
      hostShutdown: u8,
      sentShutdown: u8,
      ...socketOf(sockets),
    },
  });
  const handshake = vmstate({
    name: "baton/vsock-handshake",
    version: 1,
    fields: { line: text, ...socketOf(sockets) },
  });
  return vmstate({
    name: "baton/virtio-vsock",
    version: 1,
    fields: {
      guestCid: u64,
      connections: list(struct(connection)),
      handshakes: list(struct(handshake)),
      resets: list(struct(ports)),
      nextPort: u32,
      halted: bool,
    },
  });
}
type OwnVsock = StateOf<ReturnType<typeof ownVmstate>>;

/** A socket that is left behind is none on the other side, whatever its number: its connection is reset there. */
const socketFor = (sockets: SavedSockets, { fd, inode }: SavedSocket) =>
  sockets === "passed" ? { fd, inode } : { fd: -1, inode: 0n };

function vsockSectionsWith(sockets: SavedSockets): VirtioSections {
  return virtioSections({
    name: "virtio-vsock",
    version: 1,
    fields: () => ({}),
    own: ownVmstate(sockets),
    split(device: VsockState) {
      const own: OwnVsock = {
        guestCid: device.guestCid,
        connections: device.connections.map((connection) => ({
          ...connection,
          pendingBytes: connection.pending.length,
          ...socketFor(sockets, connection),
        })),
        handshakes: device.handshakes.map((handshake) => ({
          line: handshake.line,
          ...socketFor(sockets, handshake),
        })),
        resets: [...device.resets],
        nextPort: device.nextPort,
        halted: device.halted,
      };
      return { qemu: {}, own };
    },
    join(_qemu, own): VsockState {
      return {
        ...own,
        connections: own.connections.map(({ pendingBytes: _, phase, ...connection }) => ({
          ...connection,
          phase: phase as ConnectionPhase,
        })),
      };
    },
  });
}

const made: Readonly<Record<SavedSockets, VirtioSections>> = {
  left: vsockSectionsWith("left"),
  passed: vsockSectionsWith("passed"),
};

/**
 * Sections of socket devices whose streams this process carries: QEMU has none such, so that `virtio-vsock` is Baton's
 * own in QEMU's layout of devices. Sockets that are left behind have `fd` -1 in the state that is joined.
 */
export function vsockSections(sockets: SavedSockets): VirtioSections {
  return made[sockets];
}

/**
 * Sections of socket devices whose streams the kernel carries: QEMU's `virtio-vhost_vsock`, version 0, which has nothing
 * of its own. QEMU: hw/virtio/vhost-vsock.c.
 */
export const vhostVsockSections = virtioSections({
  name: "virtio-vhost_vsock",
  version: 0,
  fields: () => ({}),
  own: vmstate({ name: "baton/vhost-vsock", version: 1, fields: { halted: bool } }),
  split: ({ halted }: VhostVsockState) => ({ qemu: {}, own: { halted } }),
  join: (_qemu, { halted }): VhostVsockState => ({ halted }),
});
