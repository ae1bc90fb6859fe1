import type { PageProgress } from "../channel/channel.js";
import type { BlockCount } from "./page-block.js";

/** How far a stream has got. */
export interface StreamProgress extends PageProgress {
  /** Pages of all blocks that go with the stream, zero ones too. */
  readonly totalPages: number;
  /** Since the beginning. */
  readonly durationMs: number;
}

/** What a stream came to. */
export interface StreamSummary extends StreamProgress {
  readonly blocks: readonly BlockCount[];
}
