import {
  array,
  bool,
  buffer,
  named,
  type StateOf,
  type StateOfFields,
  struct,
  u8,
  u16,
  u32,
  u64,
  unused,
  vmstate,
} from "@baton/migration/vmstate";

/** Queues that QEMU's layout has places for, whatever the device: places without a queue are zeros from Baton. */
const QUEUE_PLACES = 1024;

const coreQueue = vmstate({
  name: "virtqueue",
  version: 1,
  fields: {
    size: named("num", u32),
    align: u32,
    desc: u64,
    lastAvail: named("last_avail_idx", u16),
  },
});

/**
 * What QEMU writes first of a virtio-mmio device: the transport's selectors, then its generic
 * half. The queue's selector is a copy of that in Baton's section, whose 32 bits count. The features, and the queues'
 * sizes and places, are copies of those in {@link virtioCore}'s `transport`, which count. Baton writes no configuration
 * space: the devices make it of their states. QEMU: hw/virtio/virtio-mmio.c, hw/virtio/virtio.c.
 */
export function virtioHead() {
  return {
    deviceFeaturesSelector: named("host_features_sel", u32),
    driverFeaturesSelector: named("guest_features_sel", u32),
    guestPageShift: named("guest_page_shift", u32),
    status: u8,
    interruptStatus: named("isr", u8),
    queueSelector: named("queue_sel", u16),
    featuresLow: named("guest_features_lo", u32),
    configBytes: named("config_len", u32),
    config: buffer("configBytes"),
    queueCount: named("queue_count", u32),
    queues: array("queueCount", struct(coreQueue)),
  } as const;
}

/** The state of {@link virtioHead}. */
export type VirtioHeadSection = StateOfFields<ReturnType<typeof virtioHead>>;

const mmioQueue = vmstate({
  name: "virtio_mmio/queue_state",
  version: 1,
  fields: {
    size: named("num", u16),
    enabled: bool,
    desc: array(2, u32),
    driver: named("avail", array(2, u32)),
    device: named("used", array(2, u32)),
  },
});
const MMIO_QUEUE_BYTES = 27;

const packedQueue = vmstate({
  name: "packed_virtqueue_state",
  version: 1,
  fields: {
    lastAvail: named("last_avail_idx", u16),
    availWrap: named("last_avail_wrap_counter", bool),
    lastUsed: named("used_idx", u16),
    usedWrap: named("used_wrap_counter", bool),
    inUse: named("inuse", u32),
  },
});
const PACKED_QUEUE_BYTES = 10;

const ringAddresses = vmstate({
  name: "virtqueue_state",
  version: 1,
  fields: { driver: named("vring.avail", u64), device: named("vring.used", u64) },
});
const RING_ADDRESSES_BYTES = 16;

/**
 * What QEMU writes last of a virtio-mmio device: the transport's registers in `extra`, and
 * optional parts. Of these Baton writes `packed` alone, where the queues are packed; there the available index and the
 * buffers in use are copies of those in the head and in Baton's section. QEMU: hw/virtio/virtio.c.
 */
export function virtioCore(queues: number) {
  const rest = QUEUE_PLACES - queues;
  const state = vmstate({
    name: "virtio_mmio/state",
    version: 1,
    fields: {
      features: named("guest_features", array(2, u32)),
      queues: named("vqs", array(queues, struct(mmioQueue))),
      places: unused(rest * MMIO_QUEUE_BYTES),
    },
  });
  const transport = vmstate({ name: "virtio_mmio", version: 1, fields: {}, subsections: { state } });
  return vmstate({
    name: "virtio",
    version: 1,
    fields: {},
    subsections: {
      endian: vmstate({ name: "virtio/device_endian", version: 1, fields: { value: named("device_endian", u8) } }),
      features64: vmstate({
        name: "virtio/64bit_features",
        version: 1,
        fields: { value: named("guest_features", u64) },
      }),
      addresses: vmstate({
        name: "virtio/virtqueues",
        version: 1,
        fields: {
          queues: named("vq", array(queues, struct(ringAddresses))),
          places: unused(rest * RING_ADDRESSES_BYTES),
        },
      }),
      sizes: vmstate({
        name: "virtio/ringsize",
        version: 1,
        fields: { queues: named("vring.num_default", array(queues, u32)), places: unused(rest * 4) },
      }),
      broken: vmstate({ name: "virtio/broken", version: 1, fields: { value: named("broken", bool) } }),
      extra: vmstate({ name: "virtio/extra_state", version: 1, fields: { transport: struct(transport) } }),
      started: vmstate({ name: "virtio/started", version: 1, fields: { value: named("started", bool) } }),
      packed: vmstate({
        name: "virtio/packed_virtqueues",
        version: 1,
        fields: {
          queues: named("vq", array(queues, struct(packedQueue))),
          places: unused(rest * PACKED_QUEUE_BYTES),
        },
      }),
      disabled: vmstate({ name: "virtio/disabled", version: 1, fields: { value: named("disabled", bool) } }),
    },
  });
}

/** The state of {@link virtioCore}. */
export type VirtioCoreSection = StateOf<ReturnType<typeof virtioCore>>;
/** The transport's registers of one queue. */
export type MmioQueueSection = StateOf<typeof mmioQueue>;
