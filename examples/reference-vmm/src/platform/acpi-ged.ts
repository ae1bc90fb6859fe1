import type { BusHandler, HandlerContext } from "@baton/core-kvm";

/** Guest physical addresses and interrupt of the generic event device, as QEMU's microvm has them. */
export const gedLayout = {
  events: 0xfea00000n,
  registers: 0xfea00200n,
  gsi: 9,
  sleepControl: 0,
  sleepStatus: 1,
  reset: 2,
  /** What the reset register wants to be written. */
  resetValue: 0x42,
} as const;

/** The bit of the event register that stands for the power button. */
export const EVENT_POWER_BUTTON = 2;
const SLEEP_ENABLE = 0x20;
/** The sleep type that the sleep control register takes for "powered off". */
export const SLEEP_TYPE_S5 = 5;

/** What the generic event device's instances are told. */
export interface GedOptions {
  readonly device: string;
}

/**
 * The hardware-reduced machine's power control: pending events, sleep and reset registers. Offsets below 0x200 are the
 * event register (read and cleared by the guest's `_EVT`), those above the sleep and reset registers.
 */
export function acpiGed(context: HandlerContext): BusHandler {
  const pending = new Int32Array(context.shared, 0, 1);
  const { device } = context.options as GedOptions;
  return {
    read(offset) {
      if (offset >= 4) return 0;
      context.setIrq(gedLayout.gsi, false);
      return Atomics.exchange(pending, 0, 0);
    },
    write(offset, _size, value) {
      const register = offset - 0x200;
      if (register === gedLayout.sleepControl && (value & SLEEP_ENABLE) !== 0) {
        const type = (value >> 2) & 7;
        if (type === SLEEP_TYPE_S5) context.emit({ device, name: "poweroff" }, { pause: true });
      } else if (register === gedLayout.reset && value === gedLayout.resetValue) {
        context.emit({ device, name: "reset" }, { pause: true });
      }
    },
  };
}

/** Presses the power button: the guest's ACPI driver is told. `setIrq` sets a line of the in-kernel controllers. */
export function pressPowerButton(shared: SharedArrayBuffer, setIrq: (gsi: number, level: boolean) => void): void {
  Atomics.or(new Int32Array(shared, 0, 1), 0, EVENT_POWER_BUTTON);
  setIrq(gedLayout.gsi, true);
}
