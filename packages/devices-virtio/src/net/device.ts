import { BatonError, errnoName } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { bit, hasBit } from "../device/features.js";
import { RateLimit } from "../device/rate-limit.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { CONTROL_QUEUE_SIZE, NetConfig } from "./config.js";
import { answerControl, type ControlTarget, openFilter, type ReceiveFilter } from "./control.js";
import {
  GUEST_OFFLOADS,
  netFeatures,
  receivesLarge,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
} from "./features.js";
import { NetLink } from "./link.js";
import { formatMac, isStation } from "./mac.js";
import type { NetDeviceOptions, NetInfo, NetLimit } from "./options.js";
import { expectedBytes } from "./packet.js";
import type { PacketPath } from "./path.js";
import { describeFilter, type NetState, readNetState } from "./state.js";
import { DirectionCounter, type NetStatistics } from "./statistics.js";
import { TapQueues } from "./tap-queues.js";
import { UserPath } from "./user-path.js";
import { VhostPath } from "./vhost-path.js";

/** Commands carried out before other devices have their turn. */
const COMMAND_BUDGET = 16;

/**
 * A network device (virtio 1.2, 5.1): pairs of queues, each with a path of its own to the host, and a control queue.
 * Nothing is done to the tap before the device runs: after a load that is `resume`, as the tap is another's till then.
 */
export class NetDevice implements VirtioDevice, ControlTarget {
  readonly deviceId = 1;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly #context: VirtioDeviceContext;
  readonly #options: NetDeviceOptions;
  readonly #config: NetConfig;
  readonly #limits: readonly [receive: RateLimit, transmit: RateLimit];
  readonly #receive = new DirectionCounter();
  readonly #transmit = new DirectionCounter();
  readonly #link: NetLink;
  readonly #tap: TapQueues;
  readonly #paths: readonly PacketPath[];
  #filter: ReceiveFilter = openFilter();
  #queues: readonly VirtQueue[] = [];
  #negotiated = 0n;
  /** The GUEST_* bits in force. */
  #offloads = 0n;
  #pairs = 1;
  /** Between a load and `resume`. */
  #loaded = false;
  #running = false;
  /** The driver broke the rules: nothing runs until a reset. */
  #halted = false;
  /** The address that a reset brings back. */
  #permanentMac: Uint8Array;

  constructor(context: VirtioDeviceContext, options: NetDeviceOptions) {
    this.#context = context;
    this.#options = options;
    const { fds, queueSize, mac, mtu, vhost } = options;
    this.#config = new NetConfig(mac, fds.length, mtu);
    this.#permanentMac = mac;
    this.#link = new NetLink(context, this.#config, options.linkUp, () => this.#activate());
    this.#tap = new TapQueues(fds, options.tap && !fds.includes(-1));
    const offered = netFeatures({ tap: options.tap, multiQueue: fds.length > 1, mtu: mtu > 0 });
    const mergeable = vhost === null || hasBit(vhost.features, VIRTIO_NET_F_MRG_RXBUF);
    this.features = mergeable ? offered : offered & ~bit(VIRTIO_NET_F_MRG_RXBUF);
    this.queueSizes = [...fds.flatMap(() => [queueSize, queueSize]), CONTROL_QUEUE_SIZE];
    const limit = ({ packetsPerSecond = 0, bytesPerSecond = 0 }: NetLimit) =>
      new RateLimit({ iops: packetsPerSecond, bytesPerSecond }, context, () => this.#goOn());
    this.#limits = [limit(options.limits.receive ?? {}), limit(options.limits.transmit ?? {})];
    this.#paths = fds.map((fd, pair) => this.#makePath(fd, pair));
  }

  get config(): Uint8Array {
    return this.#config.bytes;
  }

  /** Those that the guest transmits with, and the one for commands; of the first, the kernel has care with vhost. */
  get workQueues(): readonly number[] {
    const { fds, vhost } = this.#options;
    return [...(vhost === null ? fds.map((_, pair) => 2 * pair + 1) : []), this.#controlQueue];
  }

  get filter(): ReceiveFilter {
    return this.#filter;
  }

  start({ features, queues }: DriverReady): void {
    this.#queues = queues;
    this.#negotiated = features;
    if (this.#loaded) return;
    this.#pairs = 1;
    this.#offloads = features & GUEST_OFFLOADS;
    this.#run();
  }

  notify(queue: VirtQueue): boolean {
    if (!this.#running) return true;
    return this.#guarded(() => {
      if (queue.index === this.#controlQueue) return this.#control(queue);
      return this.#paths[queue.index >> 1]?.notify(queue) ?? true;
    });
  }

  reset(): void {
    this.#running = false;
    this.#loaded = false;
    this.#halted = false;
    for (const path of this.#paths) path.reset();
    for (const limit of this.#limits) limit.stop();
    this.#queues = [];
    this.#pairs = 1;
    this.#filter = openFilter();
    this.#config.announce = false;
    this.#config.mac = this.#permanentMac;
  }

  quiesce(): void {
    this.#running = false;
    for (const path of this.#paths) path.stop();
    for (const limit of this.#limits) limit.stop();
  }

  resume(): void {
    this.#loaded = false;
    if (this.#queues.length > 0 && !this.#halted) this.#run();
  }

  save(): NetState {
    return {
      mac: this.#config.mac.slice(),
      permanentMac: this.#permanentMac.slice(),
      mtu: this.#config.mtu,
      linkUp: this.#link.plugged,
      announce: this.#config.announce,
      pairs: this.#pairs,
      offloads: this.#offloads,
      halted: this.#halted,
      filter: { ...this.#filter },
      pending: this.#paths.map((path) => path.pending),
    };
  }

  load(state: unknown): void {
    const saved = readNetState(this.#context.id, state, this.#paths.length);
    this.#loaded = true;
    this.#halted = saved.halted;
    if (!this.#options.macGiven) this.#permanentMac = saved.permanentMac;
    this.#config.mac = saved.mac;
    this.#config.mtu = saved.mtu;
    this.#config.announce = saved.announce;
    this.#link.load(saved.linkUp);
    this.#pairs = saved.pairs;
    this.#offloads = saved.offloads;
    this.#filter = { ...saved.filter };
    this.#paths.forEach((path, pair) => {
      path.pending = saved.pending[pair] ?? [];
    });
  }

  succeed(former: unknown): NetState {
    const saved = readNetState(this.#context.id, former, this.#paths.length);
    const { mac, macGiven, mtu, linkUp } = this.#options;
    // The guest's driver asks for the address once.
    const address = macGiven ? { mac, permanentMac: mac } : { mac: saved.mac, permanentMac: saved.permanentMac };
    return { ...saved, ...address, mtu, linkUp, pending: this.#paths.map(() => []) };
  }

  command(name: string, args: unknown): unknown {
    switch (name) {
      case "set-link":
        return this.#setLink((args as { readonly up: boolean }).up);
      case "announce":
        return this.#announce();
      case "statistics":
        return this.#statistics();
      case "info":
        return this.#info();
      default:
        throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a network device has no command '${name}'`);
    }
  }

  close(): void {
    for (const path of this.#paths) path.close();
    for (const limit of this.#limits) limit.close();
  }

  setMac(mac: Uint8Array): boolean {
    if (!isStation(mac)) return false;
    this.#config.mac = mac;
    return true;
  }

  acknowledgeAnnounce(): boolean {
    this.#config.announce = false;
    return true;
  }

  setPairs(pairs: number): boolean {
    if (!hasBit(this.#negotiated, VIRTIO_NET_F_MQ) || pairs < 1 || pairs > this.#paths.length) return false;
    this.#pairs = pairs;
    this.#link.attempt(() => this.#tap.attach(pairs));
    this.#activate();
    return true;
  }

  setOffloads(offloads: bigint): boolean {
    if ((offloads & ~(this.#negotiated & GUEST_OFFLOADS)) !== 0n) return false;
    this.#offloads = offloads;
    this.#link.attempt(() => this.#tap.setOffloads(offloads));
    for (const path of this.#paths) path.setExpected(this.#expected);
    return true;
  }

  #makePath(fd: number, pair: number): PacketPath {
    const { vhost } = this.#options;
    const context = this.#context;
    if (vhost !== null) {
      return new VhostPath({
        context,
        fd,
        vhostFd: vhost.fds[pair] as number,
        vhostFeatures: vhost.features,
        onFailed: (error) => this.#link.lose(error.message),
        onBroken: (error) => {
          this.#halt();
          context.needsReset(error);
        },
      });
    }
    const [receive, transmit] = this.#limits;
    return new UserPath({
      context,
      fd,
      tap: this.#options.tap,
      receive: { limit: receive, counter: this.#receive },
      transmit: { limit: transmit, counter: this.#transmit },
      guard: (work) => this.#guarded(work),
      onLost: (errno) => this.#link.lose(errnoName(errno)),
    });
  }

  /** Runs code that meets the guest's rings: when they are broken, nothing goes on. */
  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof QueueError) this.#halt();
      throw error;
    }
  }

  #halt(): void {
    this.#halted = true;
    this.quiesce();
  }

  get #controlQueue(): number {
    return 2 * (hasBit(this.#negotiated, VIRTIO_NET_F_MQ) ? this.#paths.length : 1);
  }

  get #expected(): number {
    return expectedBytes(receivesLarge(this.#offloads), this.#config.mtu);
  }

  /** Begins to move packets, or goes on. */
  #run(): void {
    this.#running = true;
    this.#link.attempt(() => {
      this.#tap.setHeader();
      this.#tap.setOffloads(this.#offloads);
      this.#tap.attach(this.#pairs);
    });
    this.#paths.forEach((path, pair) => {
      const [receive, transmit] = [this.#queues[2 * pair], this.#queues[2 * pair + 1]];
      // Without MQ what follows the first pair is the control queue.
      if (receive === undefined || transmit === undefined || (pair > 0 && 2 * pair >= this.#controlQueue)) return;
      const active = this.#isActive(pair);
      path.start({ receive, transmit, features: this.#negotiated, expected: this.#expected, active });
    });
  }

  #isActive(pair: number): boolean {
    return this.#link.up && pair < this.#pairs;
  }

  #activate(): void {
    if (!this.#running) return;
    this.#paths.forEach((path, pair) => {
      path.setActive(this.#isActive(pair));
    });
  }

  #control(queue: VirtQueue): boolean {
    let all = false;
    for (let left = COMMAND_BUDGET; left > 0; left--) {
      const chain = queue.pop();
      all = chain === null;
      if (chain === null) break;
      if (chain.writableLength < 1) {
        throw new QueueError(queue.index, "request", chain.id, "a control command has no place for its answer");
      }
      queue.push(chain, answerControl(chain, this));
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    if (!all) this.#context.again(queue.index);
    return all;
  }

  #goOn(): void {
    if (!this.#running) return;
    this.#guarded(() => {
      for (const path of this.#paths) path.goOn();
    });
  }

  #setLink(up: boolean): null {
    if (this.#link.plug(up) && this.#running) {
      for (const path of this.#paths) path.stop();
      this.#run();
      for (const queue of this.#queues) if (queue.ready) this.#context.again(queue.index);
    }
    return null;
  }

  /** Asks the guest to tell the network where it is now; whether it can. */
  #announce(): boolean {
    if (!this.#running || !hasBit(this.#negotiated, VIRTIO_NET_F_GUEST_ANNOUNCE)) return false;
    this.#config.announce = true;
    this.#context.configChanged();
    return true;
  }

  #statistics(): NetStatistics {
    return { receive: this.#receive.save(), transmit: this.#transmit.save() };
  }

  #info(): NetInfo {
    return {
      mac: formatMac(this.#config.mac),
      linkUp: this.#link.up,
      lost: this.#link.lost,
      vhost: this.#options.vhost !== null,
      interface: this.#options.interface,
      pairs: this.#pairs,
      maxPairs: this.#paths.length,
      mtu: this.#config.mtu,
      filter: describeFilter(this.#filter),
    };
  }
}

/** The factory that the device's service calls. */
export function createNetDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new NetDevice(context, options as NetDeviceOptions);
}
