export { exitsKind, exitsLayout } from "./exits.js";
export { type HostileMode, hostileMmio, hostileModes, hostileSkippedPorts } from "./hostile.js";
export { type GuestName, guestImage, guestNames, guestPath } from "./image.js";
export { guestExit, guestLayout, guestPorts, guestVectors } from "./layout.js";
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
