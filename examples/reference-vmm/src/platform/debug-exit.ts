import type { BusHandler, HandlerContext } from "@baton/core-kvm";

/** Ends the VM with a code of the guest's choice, as QEMU's isa-debug-exit: a write of `v` gives exit code `2v + 1`. */
export function debugExit(context: HandlerContext): BusHandler {
  return {
    read: () => 0,
    write(_offset, _size, value) {
      context.emit({ device: "debug-exit", name: "exit", data: ((value << 1) | 1) & 0xff }, { pause: true });
    },
  };
}
