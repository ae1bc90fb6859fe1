import type { VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import type { BalloonDeviceOptions } from "./device.js";

/** Options of {@link virtioBalloon}. */
export interface VirtioBalloonOptions {
  readonly id: string;
  /** Whether the guest takes pages back rather than kill a process when it runs out of memory. */
  readonly deflateOnOom?: boolean;
  /** Whether the guest reports free pages all the time, to be given back at once. */
  readonly freePageReporting?: boolean;
  readonly iothread?: string;
  readonly rings?: RingFeatures;
}

/** A memory balloon. RAM on huge pages is not given back. */
export function virtioBalloon(options: VirtioBalloonOptions): VirtioDeviceDescription {
  return {
    kind: "virtio",
    model: "virtio-balloon",
    id: options.id,
    queues: 4,
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    ...(options.rings && { rings: options.rings }),
    factory: "createBalloonDevice",
    open(_openOrFind, { ramBytes }) {
      const device: BalloonDeviceOptions = {
        ramBytes,
        deflateOnOom: options.deflateOnOom ?? false,
        freePageReporting: options.freePageReporting ?? false,
      };
      return { options: device, close: () => {} };
    },
  };
}
