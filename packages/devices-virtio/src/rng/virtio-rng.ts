import { BatonError, O_CLOEXEC, O_NONBLOCK, O_RDONLY, open } from "@baton/linux";
import type { VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import type { RngDeviceOptions } from "./device.js";

/** Options of {@link virtioRng}. */
export interface VirtioRngOptions {
  readonly id: string;
  /** Where the bytes come from: `/dev/urandom` unless given. */
  readonly path?: string;
  /** Bytes a second that the guest may have; no limit unless given. */
  readonly bytesPerSecond?: number;
  readonly iothread?: string;
  readonly rings?: RingFeatures;
}

/** An entropy device. Errors when the machine is made: `RNG_OPEN`. */
export function virtioRng(options: VirtioRngOptions): VirtioDeviceDescription {
  const { id, path = "/dev/urandom", bytesPerSecond } = options;
  return {
    kind: "virtio",
    model: "virtio-rng",
    id,
    queues: 1,
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    ...(options.rings && { rings: options.rings }),
    factory: "createRngDevice",
    open(openOrFind) {
      const fd = openOrFind("rng", id, () => openSource(id, path));
      const device: RngDeviceOptions = { fd: fd.raw, limits: bytesPerSecond === undefined ? {} : { bytesPerSecond } };
      return { options: device, close: () => fd.close() };
    },
  };
}

function openSource(id: string, path: string) {
  try {
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } catch (error) {
    throw new BatonError("RNG_OPEN", `${id}: ${BatonError.from(error, "RNG_OPEN").message}`, { cause: error });
  }
}
