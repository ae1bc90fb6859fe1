import type { NetFilterInfo } from "./state.js";

/** How much may pass in one direction; 0 or absent means no limit. */
export interface NetLimit {
  readonly packetsPerSecond?: number;
  /** Of frames. */
  readonly bytesPerSecond?: number;
}

/** Limits for both directions, each over all queues: `receive` is what goes to the guest. */
export interface NetLimits {
  readonly receive?: NetLimit;
  readonly transmit?: NetLimit;
}

/** What the device's half in its thread is made with. */
export interface NetDeviceOptions {
  /** For each pair of queues the host's side: non-blocking, whole packets with a virtio header in front. -1: there is none. */
  readonly fds: readonly number[];
  /** Whether they are queues of a tap, which finishes packets for the guest; else sockets. */
  readonly tap: boolean;
  /** The tap's interface; empty for sockets. */
  readonly interface: string;
  readonly mac: Uint8Array;
  /** Whether the address was asked for, and counts for more than a loaded one. */
  readonly macGiven: boolean;
  /** 0: the guest is told none. */
  readonly mtu: number;
  readonly queueSize: number;
  readonly linkUp: boolean;
  /** Open /dev/vhost-net for each pair, and what it supports; null where packets pass this process. */
  readonly vhost: { readonly fds: readonly number[]; readonly features: bigint } | null;
  readonly limits: NetLimits;
}

/** What `command("info")` answers. */
export interface NetInfo {
  /** The address that the guest uses. */
  readonly mac: string;
  readonly linkUp: boolean;
  /** Why the host's side failed, and the link went down; null where it did not. */
  readonly lost: string | null;
  readonly vhost: boolean;
  /** The tap's interface; empty for sockets. */
  readonly interface: string;
  /** Pairs of queues in use. */
  readonly pairs: number;
  readonly maxPairs: number;
  /** 0: the guest was told none. */
  readonly mtu: number;
  /** Which addresses the guest asked for. */
  readonly filter: NetFilterInfo;
}
