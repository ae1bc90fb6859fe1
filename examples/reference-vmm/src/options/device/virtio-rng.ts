import { virtioRng } from "@baton/devices-virtio";
import { optionError } from "../grammar.js";
import type { DriverEntry } from "./driver.js";

const DEFAULT_PERIOD_MS = 1000;

/** `-device virtio-rng-device`, entropy from the `-object rng-random` that it names. */
export const virtioRngDevice: DriverEntry = {
  options: { rng: "ID", "max-bytes": "N", period: "MS" },
  help: "entropy",
  make(device, { rngs }) {
    const name = device.text("rng");
    const source = name === undefined ? undefined : rngs.get(name);
    if (name !== undefined && source === undefined) {
      throw optionError(device.option, `${device.driver}: there is no object '${name}'`);
    }
    const maxBytes = device.integer("max-bytes", 1, 2 ** 40);
    const period = device.integer("period", 1, 2 ** 31) ?? DEFAULT_PERIOD_MS;
    return virtioRng({
      ...device.common(name === undefined ? "rng" : `${name}-device`),
      ...(source !== undefined && { path: source.path }),
      ...(maxBytes !== undefined && { bytesPerSecond: (maxBytes * 1000) / period }),
    });
  },
};
