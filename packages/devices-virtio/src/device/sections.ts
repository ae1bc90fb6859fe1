import {
  array,
  type Fields,
  type StateOf,
  type StateOfFields,
  struct,
  u16,
  u32,
  u64,
  type Vmstate,
  type VmstateDescriptor,
  vmstate,
} from "@baton/migration/vmstate";
import type { QueueState } from "../queue/queue.js";
import { type RingSection, ringVmstate } from "../queue/vmstate.js";
import {
  type MmioQueueSection,
  type VirtioCoreSection,
  type VirtioHeadSection,
  virtioCore,
  virtioHead,
} from "../transport/mmio/vmstate.js";
import { deviceStateError, type QueueRegisters, type VirtioState } from "./state.js";

/** The two sections of a device: in QEMU's layout, and what that has no room for. */
export interface VirtioSectionStates {
  readonly main: unknown;
  readonly own: unknown;
}

/** The descriptors of {@link VirtioSectionStates}. */
export interface VirtioSectionDescriptors {
  readonly main: VmstateDescriptor;
  readonly own: VmstateDescriptor;
}

/** How states of one kind of device become sections. */
export interface VirtioSections {
  /** The name of the section in QEMU's layout: the end of its idstr, after the device's place. */
  readonly name: string;
  /** For a device with so many queues. */
  descriptors(queues: number): VirtioSectionDescriptors;
  /** Throws `DEVICE_STATE` for a state of another kind. */
  save(id: string, state: VirtioState): VirtioSectionStates;
  /** What it returns has the shape of a state; the device checks what it means when it is loaded. */
  join(id: string, states: VirtioSectionStates): VirtioState;
}

/** What one kind of device adds: `D` is what it saves itself, `O` what Baton's section has of that. */
export interface DevicePart<D, F extends Fields, O> {
  readonly name: string;
  readonly version: number;
  /** The device's own members in QEMU's layout, of a device with so many queues. */
  readonly fields: (queues: number) => F;
  readonly own: Vmstate<O>;
  readonly split: (device: D, queues: number) => { readonly qemu: StateOfFields<F>; readonly own: O };
  readonly join: (qemu: StateOfFields<F>, own: O) => D;
}

type MainSection = VirtioHeadSection & { core: VirtioCoreSection };

function ownVmstate<O>(part: Vmstate<O>, queues: number) {
  return vmstate({
    name: "baton/virtio",
    version: 1,
    fields: {
      deviceId: u16,
      offered: u64,
      configGeneration: u32,
      queueSelector: u32,
      rings: array(queues, struct(ringVmstate)),
      device: struct(part),
    },
  });
}
type OwnSection = StateOf<ReturnType<typeof ownVmstate<unknown>>>;

/** The sections of one kind of device. */
export function virtioSections<D, F extends Fields, O>(part: DevicePart<D, F, O>): VirtioSections {
  const made = new Map<number, VirtioSectionDescriptors>();
  return {
    name: part.name,
    descriptors(queues) {
      const known = made.get(queues);
      if (known !== undefined) return known;
      const fields: Fields = { ...virtioHead(), ...part.fields(queues), core: struct(virtioCore(queues)) };
      const main = vmstate({ name: part.name, version: part.version, fields: fields as Record<never, never> });
      const descriptors = { main, own: ownVmstate(part.own, queues) };
      made.set(queues, descriptors);
      return descriptors;
    },
    save(id, state) {
      const selectors = readSelectors(id, state.transport);
      const device = part.split(state.device as D, state.queues.length);
      const rings = state.queues.map(({ registers, ring }) => saveRing(registers, ring));
      return {
        main: { ...saveHead(state, selectors), ...device.qemu, core: saveCore(state) },
        own: {
          deviceId: state.deviceId,
          offered: state.offered,
          configGeneration: state.configGeneration,
          queueSelector: selectors.queue,
          rings,
          device: device.own,
        } satisfies OwnSection,
      };
    },
    join(id, states) {
      const main = states.main as MainSection & StateOfFields<F>;
      const own = states.own as OwnSection;
      const registers = joinRegisters(id, main, own.rings.length);
      return {
        deviceId: own.deviceId,
        status: main.status,
        offered: own.offered,
        accepted: joinAccepted(main),
        configGeneration: own.configGeneration,
        interruptStatus: main.interruptStatus,
        queues: own.rings.map((ring, i) => ({
          registers: registers[i] as QueueRegisters,
          ring: joinRing(id, main, i, registers[i] as QueueRegisters, ring),
        })),
        transport: {
          deviceFeatures: main.deviceFeaturesSelector,
          driverFeatures: main.driverFeaturesSelector,
          queue: own.queueSelector,
        },
        device: part.join(main, own.device as O),
      };
    },
  };
}

interface Selectors {
  readonly deviceFeatures: number;
  readonly driverFeatures: number;
  readonly queue: number;
}

function readSelectors(id: string, transport: unknown): Selectors {
  const { deviceFeatures, driverFeatures, queue } = (transport ?? {}) as Partial<Selectors>;
  if (deviceFeatures === undefined || driverFeatures === undefined || queue === undefined) {
    throw deviceStateError(id, "transport", "is none of a virtio-mmio device");
  }
  return { deviceFeatures, driverFeatures, queue };
}

const LOW = 0xffff_ffffn;
const halves = (value: bigint) => [Number(value & LOW), Number(value >> 32n)];
const whole = (words: readonly number[]) => BigInt(words[0] as number) | (BigInt(words[1] as number) << 32n);

function saveHead(state: VirtioState, selectors: Selectors): VirtioHeadSection {
  return {
    deviceFeaturesSelector: selectors.deviceFeatures,
    driverFeaturesSelector: selectors.driverFeatures,
    guestPageShift: 0,
    status: state.status,
    interruptStatus: state.interruptStatus,
    queueSelector: Math.min(selectors.queue, 0xffff),
    featuresLow: Number(state.accepted & LOW),
    configBytes: 0,
    config: new Uint8Array(0),
    queueCount: state.queues.length,
    queues: state.queues.map(({ registers, ring }) => ({
      size: registers.size,
      align: 0,
      desc: registers.desc,
      lastAvail: ring?.lastAvail ?? 0,
    })),
  };
}

function saveCore(state: VirtioState): VirtioCoreSection {
  const queues = state.queues.map(({ registers }): MmioQueueSection => {
    const { size, enabled, desc, driver, device } = registers;
    return { size, enabled, desc: halves(desc), driver: halves(driver), device: halves(device) };
  });
  const core: VirtioCoreSection = {
    extra: { transport: { state: { features: halves(state.accepted), queues } } },
  };
  if (!state.queues.some(({ ring }) => ring?.kind === "packed")) return core;
  const packed = state.queues.map(({ ring }) => ({
    lastAvail: ring?.lastAvail ?? 0,
    availWrap: ring?.kind === "packed" && ring.availWrap,
    lastUsed: ring?.kind === "packed" ? ring.lastUsed : 0,
    usedWrap: ring?.kind === "packed" && ring.usedWrap,
    inUse: ring?.inFlight.length ?? 0,
  }));
  return { ...core, packed: { queues: packed } };
}

const layoutNames = ["size", "desc", "driver", "device"] as const;

function saveRing(registers: QueueRegisters, ring: QueueState | null): RingSection {
  if (ring === null) {
    const layout = { size: 0, desc: 0n, driver: 0n, device: 0n };
    const flags = { present: false, packed: false, ready: false, broken: false, hasLayout: false };
    return { ...flags, unsignalled: 0, lastUsed: 0, inFlight: [], layout };
  }
  const { size, desc, driver, device, ready, broken, unsignalled } = ring;
  return {
    present: true,
    packed: ring.kind === "packed",
    ready,
    broken,
    unsignalled,
    lastUsed: ring.kind === "split" ? ring.lastUsed : 0,
    inFlight: ring.inFlight.map(({ id, descriptors, written }) => ({
      id,
      descriptors,
      isUsed: written !== null,
      written: written ?? 0,
    })),
    hasLayout: layoutNames.some((name) => ring[name] !== registers[name]),
    layout: { size, desc, driver, device },
  };
}

function joinAccepted({ core }: MainSection): bigint {
  const { features } = core.extra?.transport.state ?? { features: [0, 0] };
  return whole(features);
}

function joinRegisters(id: string, { core, queues }: MainSection, count: number): QueueRegisters[] {
  const state = core.extra?.transport.state;
  if (state === undefined) throw deviceStateError(id, "transport", "the registers of its queues are missing");
  if (state.queues.length !== count || queues.length !== count) {
    throw deviceStateError(id, "queues", `there are ${queues.length} of ${count}`);
  }
  return state.queues.map(({ size, enabled, desc, driver, device }) => ({
    size,
    desc: whole(desc),
    driver: whole(driver),
    device: whole(device),
    enabled,
  }));
}

function joinRing(
  id: string,
  main: MainSection,
  index: number,
  registers: QueueRegisters,
  ring: RingSection,
): QueueState | null {
  if (!ring.present) return null;
  const { size, desc, driver, device } = ring.hasLayout ? ring.layout : registers;
  const { ready, broken, unsignalled } = ring;
  const base = {
    size,
    desc,
    driver,
    device,
    ready,
    broken,
    unsignalled,
    inFlight: ring.inFlight.map(({ id: buffer, descriptors, isUsed, written }) => ({
      id: buffer,
      descriptors,
      written: isUsed ? written : null,
    })),
    lastAvail: main.queues[index]?.lastAvail ?? 0,
  };
  if (!ring.packed) return { ...base, kind: "split", lastUsed: ring.lastUsed };
  const packed = main.core.packed?.queues[index];
  if (packed === undefined) throw deviceStateError(id, `queues[${index}]`, "the places of a packed queue are missing");
  const { availWrap, lastUsed, usedWrap } = packed;
  return { ...base, kind: "packed", availWrap, lastUsed, usedWrap };
}
