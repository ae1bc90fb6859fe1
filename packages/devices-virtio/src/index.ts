/**
 * Virtio 1.2: devices for virtual machines, the mmio transport that carries them, and the queues by themselves.
 *
 * @packageDocumentation
 */

// For users.
export type { BalloonInfo } from "./balloon/device.js";
export type { BalloonStatistics } from "./balloon/statistics.js";
export { type VirtioBalloonOptions, virtioBalloon } from "./balloon/virtio-balloon.js";
export type { BlkInfo } from "./blk/device.js";
export type { Aio } from "./blk/image/ring.js";
export type { DetectZeroes, ErrorPolicy } from "./blk/options.js";
export { emptyBlk } from "./blk/slot.js";
export type { BlkOperationStatistics, BlkStatisticsSnapshot } from "./blk/statistics.js";
export { type VirtioBlkOptions, virtioBlk } from "./blk/virtio-blk.js";
// For those who build devices and machines.
export type { ChardevBackend, CharEndpoint } from "./chardev/backend.js";
export { type ChannelContext, type ChannelListeners, CharChannel, type InputMode } from "./chardev/channel.js";
export { type OpenedChardev, openChardev } from "./chardev/open.js";
export type { ConsolePortInfo } from "./console/port.js";
export { type VirtioConsoleOptions, type VirtioConsolePort, virtioConsole } from "./console/virtio-console.js";
export type { MachineFacts, OpenedDevice, OpenOrFind, VirtioDeviceDescription } from "./device/description.js";
export type {
  DriverReady,
  KernelNotifiers,
  VirtioDevice,
  VirtioDeviceContext,
  VirtioDeviceFactory,
  VirtioEvent,
} from "./device/device.js";
export { type RingFeatures, VIRTIO_F_VERSION_1 } from "./device/features.js";
export type { RateLimitOptions } from "./device/rate-limit.js";
export { virtioSectionsOf } from "./device/section-table.js";
export type { VirtioSectionDescriptors, VirtioSectionStates, VirtioSections } from "./device/sections.js";
export { deviceStateError, type QueueRegisters, StateReader, type VirtioState } from "./device/state.js";
export type { NetInfo, NetLimit, NetLimits } from "./net/options.js";
export { type EmptyNetOptions, emptyNet } from "./net/slot.js";
export type { NetFilterInfo } from "./net/state.js";
export type { NetDirectionStatistics, NetStatistics } from "./net/statistics.js";
export { type NetBackend, type VirtioNetOptions, virtioNet } from "./net/virtio-net.js";
export type { ChainPiece, ChainState } from "./queue/chain.js";
export { Chain } from "./queue/chain.js";
export { createQueue } from "./queue/create.js";
// For those who build drivers and tools.
export {
  DESC_BYTES,
  DESC_F_AVAIL,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_USED,
  DESC_F_WRITE,
  MAX_QUEUE_SIZE,
} from "./queue/descriptor.js";
export { QueueError, type QueueFault } from "./queue/errors.js";
export {
  type QueueFeatures,
  queueFeatures,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from "./queue/features.js";
export type {
  InFlightState,
  PackedQueueState,
  QueueLayout,
  QueueOptions,
  QueueState,
  QueueStateBase,
  SplitQueueState,
  VirtQueue,
} from "./queue/queue.js";
export { type VirtioRngOptions, virtioRng } from "./rng/virtio-rng.js";
export { VirtioMmioDevice, type VirtioMmioOptions } from "./transport/mmio/device.js";
export { MMIO_LENGTH } from "./transport/mmio/layout.js";
export type { QuiesceReport } from "./transport/mmio/service.js";
export type { VhostVsockInfo } from "./vsock/vhost-device.js";
export { type VhostVsockOptions, vhostVsock } from "./vsock/vhost-vsock.js";
export { type VirtioVsockOptions, virtioVsock } from "./vsock/virtio-vsock.js";
export type { SavedSockets } from "./vsock/vmstate.js";
