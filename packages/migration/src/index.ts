/**
 * Channels that carry a virtual machine's state, and QEMU's main migration stream. Descriptors of states are in
 * `@baton/migration/vmstate`.
 *
 * @packageDocumentation
 */

// For users: channels.
export { formatMigrationAddress, type MigrationAddress, parseMigrationAddress } from "./channel/address.js";
// For implementers of channels.
export type {
  Channel,
  ChannelListener,
  ChannelOptions,
  MappedPagesMoved,
  PageOptions,
  PageProgress,
  PagesMoved,
  PagesRead,
  ReadPagesJob,
  WritePagesJob,
} from "./channel/channel.js";
export { inMemoryChannels } from "./channel/in-memory.js";
export { listenIncoming, type OpenChannelOptions, openIncoming, openOutgoing } from "./channel/open.js";
// For users: looking into streams.
export { compareStreams, type StreamDifference } from "./inspect/compare-streams.js";
export { type InspectStreamOptions, inspectStream } from "./inspect/inspect-stream.js";
export type {
  InspectedBlock,
  InspectedCommand,
  InspectedProblem,
  InspectedSection,
  InspectedStream,
  InspectedValue,
} from "./inspect/inspected.js";
// For users: streams.
export type { IncomingConfiguration, StreamCapability, StreamConfiguration } from "./stream/configuration.js";
// For implementers: descriptions.
export type {
  DescribedField,
  DescribedSection,
  DescribedState,
  StreamDescription,
} from "./stream/description.js";
export type { BlockCount, MappedBlock, PageBlock } from "./stream/page-block.js";
export type { StreamProgress, StreamSummary } from "./stream/progress.js";
export type { StreamRam } from "./stream/ram-list.js";
export { type ReadStreamOptions, type ReadStreamResult, readStream } from "./stream/read-stream.js";
export type { ExpectedSection, IncomingSection, OutgoingSection, SectionName } from "./stream/section.js";
export type { StreamErrorCode } from "./stream/stream-error.js";
export type { ReadStreamContents, StreamContents } from "./stream/stream-reader.js";
export { type WriteStreamContents, type WriteStreamOptions, writeStream } from "./stream/write-stream.js";
