import type { BusHandler, HandlerContext } from "@baton/core-kvm";

const PANICKED = 1;
const CRASH_LOADED = 2;

/** The guest's way to say that its kernel has crashed (QEMU, docs/specs/pvpanic). A panic pauses the vCPU; a crash kernel is told once. */
export function pvpanic(context: HandlerContext): BusHandler {
  let crashLoaded = false;
  return {
    read: () => PANICKED | CRASH_LOADED,
    write(_offset, _size, value) {
      if ((value & PANICKED) !== 0) context.emit({ device: "pvpanic", name: "panicked" }, { pause: true });
      else if ((value & CRASH_LOADED) !== 0 && !crashLoaded) {
        crashLoaded = true;
        context.emit({ device: "pvpanic", name: "crash-loaded" });
      }
    },
  };
}
