import { ENOSPC, errnoName } from "@baton/linux";
import type { VirtioEvent } from "../device/device.js";
import type { BlkDeviceOptions } from "./options.js";
import { VIRTIO_BLK_T_IN } from "./request.js";

/** What an error of the host leads to for a request of a type, and what the embedder is told of it. */
export function hostError(
  { readError, writeError }: BlkDeviceOptions,
  type: number,
  errno: number,
): { readonly action: "report" | "ignore" | "stop"; readonly event: VirtioEvent } {
  const isRead = type === VIRTIO_BLK_T_IN;
  const policy = isRead ? readError : writeError;
  const nospace = errno === ENOSPC;
  const action = policy === "enospc" ? (nospace ? "stop" : "report") : policy;
  const data = { operation: isRead ? "read" : "write", action, nospace, reason: errnoName(errno) };
  return { action, event: { name: "io-error", data } };
}
