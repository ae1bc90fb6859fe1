export {
  type BlkbenchMode,
  type BlkbenchOptions,
  type BlkbenchResult,
  blkbenchCmdline,
  blkbenchModes,
  parseBlkbench,
} from "./blkbench.js";
export { exitsKind, exitsLayout } from "./exits.js";
export { type HostileMode, hostileMmio, hostileModes, hostileSkippedPorts } from "./hostile.js";
export { type GuestName, guestImage, guestNames, guestPath } from "./image.js";
export { guestExit, guestLayout, guestPorts, guestVectors } from "./layout.js";
export {
  NETBENCH_READY,
  type NetbenchOptions,
  type NetbenchResult,
  type NetbenchRole,
  netbenchCmdline,
  netbenchFrame,
  netbenchRoles,
  parseNetbench,
} from "./netbench.js";
export {
  parseTickerSummary,
  TICKER_MAGIC,
  type TickerOptions,
  type TickerSummary,
  tickerCmdline,
  tickerLayout,
  tickerMix,
  tickerMmioByte,
  tickerPageWord,
  tickerPhase,
  tickerStatus,
} from "./ticker.js";
export {
  parseVirthostile,
  type VirthostileOptions,
  type VirthostileSummary,
  virthostileCmdline,
} from "./virthostile.js";
export {
  parseVirtioAgreements,
  type VirtioAgreement,
  type VirtioMmioSlot,
  type VirtioOptions,
  virtioMmioWords,
} from "./virtio.js";
export {
  parseVirtloadCounters,
  parseVirtloadFindings,
  parseVirtloadSummary,
  VIRTLOAD_ECHO_PORT,
  VIRTLOAD_STOP,
  type VirtloadCounters,
  type VirtloadFinding,
  type VirtloadOptions,
  type VirtloadSummary,
  virtloadCmdline,
  virtloadStreamByte,
} from "./virtload.js";
