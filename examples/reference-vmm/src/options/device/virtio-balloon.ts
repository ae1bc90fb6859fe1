import { virtioBalloon } from "@baton/devices-virtio";
import { optionError } from "../grammar.js";
import type { DriverEntry } from "./driver.js";

/** `-device virtio-balloon-device`. */
export const virtioBalloonDevice: DriverEntry = {
  options: { "deflate-on-oom": "on|off", "free-page-reporting": "on|off" },
  help: "a memory balloon",
  ignored: ["auto-balloon", "membuf-percent", "monitor-interval"],
  make(device) {
    if (device.bool("auto-balloon")) {
      throw optionError(device.option, "auto-balloon is not supported", "Set the balloon with QMP's `balloon`");
    }
    return virtioBalloon({
      ...device.common("balloon"),
      deflateOnOom: device.bool("deflate-on-oom") ?? false,
      freePageReporting: device.bool("free-page-reporting") ?? false,
    });
  },
};
