import { BatonError, dupFd, type Fd, setNonblocking } from "@baton/linux";
import type { OpenOrFind, VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import { openVhost, takeVhost, type VhostKind, vhostFeatures } from "../vhost/open.js";
import { MAX_MTU, MIN_MTU, NET_MAX_PAIRS, NET_MAX_QUEUE_SIZE, NET_MIN_QUEUE_SIZE } from "./config.js";
import { parseMac, randomMac } from "./mac.js";
import type { NetDeviceOptions, NetLimits } from "./options.js";
import { openTap, takeTap, tapInterface } from "./tap.js";

/**
 * What a network device stands on. Descriptors that are given stay their owner's: the device uses duplicates.
 *
 * - `tap`: an interface of the host, by its name (made where there is none; the kernel chooses a name where none is
 *   given), or as open descriptors, one for each pair of queues, with IFF_VNET_HDR.
 * - `socket`: sockets that keep packets apart (SOCK_DGRAM, SOCK_SEQPACKET), one for each pair. Each packet has the
 *   12 bytes of `struct virtio_net_hdr` in front of it; checksums are whole and nothing is segmented.
 */
export type NetBackend =
  | { readonly kind: "tap"; readonly name?: string; readonly fds?: readonly number[] }
  | { readonly kind: "socket"; readonly fds: readonly number[] };

/** Options of {@link virtioNet}. */
export interface VirtioNetOptions {
  readonly id: string;
  readonly backend: NetBackend;
  /** `52:54:00:12:34:56`; a random one under 52:54:00 unless given. */
  readonly mac?: string;
  /** What the guest is told of the network's MTU: 68 to 65535; nothing unless given. */
  readonly mtu?: number;
  /** Pairs of queues, for a guest with several vCPUs; 1 to 16, 1 unless given. */
  readonly queues?: number;
  /** Descriptors of each queue, a power of two from 16 to 1024; 256 unless given. */
  readonly queueSize?: number;
  /** Has the kernel's vhost-net move the packets of a tap: opened, or given as descriptors, one for each pair. */
  readonly vhost?: boolean | { readonly fds: readonly number[] };
  /** Not with vhost. */
  readonly limits?: NetLimits;
  /** Whether the cable is plugged in at first; it is unless said otherwise. */
  readonly linkUp?: boolean;
  readonly iothread?: string;
  readonly rings?: RingFeatures;
}

/** Descriptors of a queue unless said otherwise. */
export const DEFAULT_QUEUE_SIZE = 256;

const VHOST_NET: VhostKind = {
  name: "vhost-net",
  path: "/dev/vhost-net",
  module: "vhost_net",
  instead: "do without vhost",
};

/** A network device. Errors when the machine is made: `TAP_OPEN`, `VHOST_UNAVAILABLE`, `INVALID_ARGUMENT`. */
export function virtioNet(options: VirtioNetOptions): VirtioDeviceDescription {
  const { id, backend, queues = 1, queueSize = DEFAULT_QUEUE_SIZE, mtu = 0 } = options;
  const vhost = options.vhost !== undefined && options.vhost !== false;
  checkRange(id, "queues", queues, 1, NET_MAX_PAIRS);
  checkRange(id, "queueSize", queueSize, NET_MIN_QUEUE_SIZE, NET_MAX_QUEUE_SIZE);
  if ((queueSize & (queueSize - 1)) !== 0) throw invalid(id, `queueSize must be a power of two, not ${queueSize}`);
  if (options.mtu !== undefined) checkRange(id, "mtu", mtu, MIN_MTU, MAX_MTU);
  checkCount(id, "descriptors of the back end", backend.fds, queues);
  if (typeof options.vhost === "object") checkCount(id, "descriptors for vhost", options.vhost.fds, queues);
  if (vhost && backend.kind !== "tap") throw invalid(id, "vhost needs a tap");
  if (vhost && options.limits !== undefined) throw invalid(id, "limits cannot be kept with vhost");
  const mac = options.mac === undefined ? randomMac() : parseMac(options.mac, id);
  return {
    kind: "virtio",
    model: "virtio-net",
    id,
    queues: 2 * queues + 1,
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    // vhost-net knows split rings alone.
    rings: vhost ? { ...options.rings, packed: false, inOrder: false } : (options.rings ?? {}),
    factory: "createNetDevice",
    open(openOrFind) {
      const fds: Fd[] = [];
      try {
        fds.push(...openBackend(options, queues, openOrFind));
        const raw = fds.map((fd) => fd.raw);
        const opened = vhost ? openVhosts(options, queues) : [];
        fds.push(...opened);
        const device: NetDeviceOptions = {
          fds: raw,
          tap: backend.kind === "tap",
          interface: backend.kind === "tap" ? interfaceName(fds[0] as Fd) : "",
          mac,
          macGiven: options.mac !== undefined,
          mtu,
          queueSize,
          linkUp: options.linkUp ?? true,
          vhost: vhost
            ? { fds: opened.map((fd) => fd.raw), features: vhostFeatures(id, VHOST_NET, opened[0] as Fd) }
            : null,
          limits: options.limits ?? {},
        };
        return { options: device, close: () => closeAll(fds) };
      } catch (error) {
        closeAll(fds);
        throw error;
      }
    },
  };
}

function openBackend({ id, backend }: VirtioNetOptions, queues: number, openOrFind: OpenOrFind): Fd[] {
  const opened: Fd[] = [];
  try {
    for (let pair = 0; pair < queues; pair++) {
      const given = backend.fds?.[pair];
      // The first queue has the kernel's name for the others.
      const name = () =>
        backend.kind === "tap" ? (backend.name ?? (pair > 0 ? tapInterface(opened[0] as Fd).name : undefined)) : "";
      opened.push(
        openOrFind(queueName(backend.kind, pair), id, () => {
          if (backend.kind === "socket") return takeSocket(id, given as number);
          return given === undefined ? openTap(id, name(), queues > 1) : takeTap(id, given);
        }),
      );
    }
    return opened;
  } catch (error) {
    closeAll(opened);
    throw error;
  }
}

/** A vhost-net belongs to the address space that owns it, so no hand-over brings one: it is always opened. */
function openVhosts({ id, vhost }: VirtioNetOptions, queues: number): Fd[] {
  const opened: Fd[] = [];
  try {
    for (let pair = 0; pair < queues; pair++) {
      opened.push(
        typeof vhost === "object" ? takeVhost(id, VHOST_NET, vhost.fds[pair] as number) : openVhost(id, VHOST_NET),
      );
    }
    return opened;
  } catch (error) {
    closeAll(opened);
    throw error;
  }
}

/** Empty for a tap that has lost its interface, as one that was handed over may have. */
function interfaceName(fd: Fd): string {
  try {
    return tapInterface(fd).name;
  } catch {
    return "";
  }
}

/** What a hand-over calls the descriptor of a pair. */
function queueName(kind: NetBackend["kind"], pair: number): string {
  return pair === 0 ? kind : `${kind}-${pair}`;
}

function takeSocket(id: string, raw: number): Fd {
  const fd = dupFd(raw, `net:${id}`);
  setNonblocking(fd, true);
  return fd;
}

function closeAll(fds: readonly Fd[]): void {
  for (const fd of fds) fd.close();
}

function invalid(id: string, problem: string): BatonError {
  return new BatonError("INVALID_ARGUMENT", `${id}: ${problem}`);
}

function checkRange(id: string, what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw invalid(id, `${what} must be ${min} to ${max}, not ${value}`);
}

function checkCount(id: string, what: string, fds: readonly number[] | undefined, queues: number): void {
  if (fds === undefined || fds.length === queues) return;
  throw invalid(id, `there are ${fds.length} ${what}, for ${queues} pairs of queues`);
}
