import {
  array,
  bool,
  buffer,
  existsIf,
  list,
  named,
  type StateOf,
  struct,
  u8,
  u16,
  u32,
  u64,
  vmstate,
} from "@baton/migration/vmstate";
import { virtioSections } from "../device/sections.js";
import { deviceStateError } from "../device/state.js";
import type { ConsoleState } from "./state.js";

/** Bytes of a buffer in QEMU's layout: its own structure, with room for 1,024 pieces each way. */
const QEMU_ELEMENT_BYTES = 49_168;

const isPopped = ({ popped }: { popped: number }) => popped !== 0;

const port = vmstate({
  name: "port",
  version: 1,
  fields: {
    id: u32,
    open: named("guest_connected", u8),
    told: named("host_connected", u8),
    popped: named("elem_popped", u32),
    vector: named("iov_idx", existsIf(["popped"], isPopped, u32, 0)),
    offset: named("iov_offset", existsIf(["popped"], isPopped, u64, 0n)),
    element: named("elem", existsIf(["popped"], isPopped, buffer(QEMU_ELEMENT_BYTES), new Uint8Array(0))),
  },
});

const ownPort = vmstate({
  name: "baton/console-port",
  version: 1,
  fields: { ready: bool, columns: u16, rows: u16, offset: u64 },
});
const message = vmstate({
  name: "baton/console-message",
  version: 1,
  fields: { port: u32, event: u16, value: u16 },
});

/** Baton's part: what more there is of each port of QEMU's part, in its order, and messages that wait for buffers. */
const own = vmstate({
  name: "baton/virtio-console",
  version: 1,
  fields: { ports: list(struct(ownPort)), outbox: list(struct(message)) },
});

/** Two queues for each port, and two of the control channel where it has one. */
function portsOf(queues: number): number {
  return Math.max((queues >> 1) - 1, 1);
}

/**
 * Sections of consoles: QEMU's `virtio-console`, version 3, and {@link own}. The size of the window and the map of the
 * ports are copies of the ports', which count; buffers that were taken and not filled are none of Baton's.
 * QEMU: hw/char/virtio-serial-bus.c.
 */
export const consoleSections = virtioSections({
  name: "virtio-console",
  version: 3,
  fields: (queues) => ({
    columns: named("cols", u16),
    rows: u16,
    maxPorts: named("max_nr_ports", u32),
    portsMap: named("ports_map", array(Math.ceil(portsOf(queues) / 32), u32)),
    portCount: named("nr_active_ports", u32),
    ports: array("portCount", struct(port)),
  }),
  own,
  split({ ports, outbox }: ConsoleState, queues) {
    const map = new Array<number>(Math.ceil(portsOf(queues) / 32)).fill(0);
    for (const { nr } of ports) {
      const word = nr >> 5;
      if (word < map.length) map[word] = ((map[word] as number) | (1 << (nr & 31))) >>> 0;
    }
    const section: StateOf<typeof own> = {
      ports: ports.map(({ ready, columns, rows, offset }) => ({ ready, columns, rows, offset: BigInt(offset) })),
      outbox: [...outbox],
    };
    const qemu = {
      columns: ports[0]?.columns ?? 0,
      rows: ports[0]?.rows ?? 0,
      maxPorts: portsOf(queues),
      portsMap: map,
      portCount: ports.length,
      ports: ports.map(({ nr, open, told }) => ({
        id: nr,
        open: open ? 1 : 0,
        told: told ? 1 : 0,
        popped: 0,
        vector: 0,
        offset: 0n,
        element: new Uint8Array(0),
      })),
    };
    return { qemu, own: section };
  },
  join(qemu, { ports, outbox }): ConsoleState {
    if (ports.length !== qemu.ports.length) {
      throw deviceStateError("virtio-console", "ports", `there are ${ports.length} of ${qemu.ports.length}`);
    }
    return {
      ports: qemu.ports.map(({ id, open, told }, i) => {
        const { ready, columns, rows, offset } = ports[i] as (typeof ports)[number];
        return { nr: id, ready, open: open !== 0, told: told !== 0, columns, rows, offset: Number(offset) };
      }),
      outbox,
    };
  },
});
