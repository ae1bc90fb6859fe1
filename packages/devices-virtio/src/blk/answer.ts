import type { Chain } from "../queue/chain.js";
import type { VirtQueue } from "../queue/queue.js";
import { BLK_ID_BYTES } from "./config.js";
import { VIRTIO_BLK_S_OK, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN } from "./request.js";
import type { TransferRun } from "./transfer-run.js";

/** Answers a run that was moved; the driver sees it when the queue publishes what is done. */
export function answerRun(queue: VirtQueue, { operation, transfers }: TransferRun): void {
  for (const { chain, length } of transfers) {
    chain.writeU8(chain.writableLength - 1, VIRTIO_BLK_S_OK);
    queue.complete(chain, operation === "read" ? length + 1 : 1);
  }
}

/** Answers a request of a type with a status, which is the last byte of what the driver gave (virtio 1.2, 5.2.6). */
export function answerRequest(queue: VirtQueue, chain: Chain, type: number, code: number): void {
  const data = chain.writableLength - 1;
  chain.writeU8(data, code);
  queue.push(chain, written(chain, data, type, code === VIRTIO_BLK_S_OK));
}

/** The bytes that the driver is told of: a lower bound, so that it takes nothing for data that was not written. */
function written(chain: Chain, data: number, type: number, ok: boolean): number {
  if (data === 0) return 1;
  if (type === VIRTIO_BLK_T_IN) {
    if (ok) return data + 1;
    // A part of it may have been read.
    chain.markWritten(0, data);
  }
  if (type !== VIRTIO_BLK_T_GET_ID || !ok) return 0;
  return data === BLK_ID_BYTES ? data + 1 : BLK_ID_BYTES;
}
