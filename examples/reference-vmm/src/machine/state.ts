import type { ClockState, IrqchipState, VcpuState } from "@baton/core-kvm";
import type { RtcState } from "../platform/rtc.js";
import type { UartState } from "../platform/uart-16550.js";
import type { NamedVirtioState } from "./virtio-devices.js";

/** The whole state of a stopped machine but its RAM, as plain data. */
export interface MachineState {
  readonly vcpus: readonly VcpuState[];
  readonly irqchip: IrqchipState;
  /** The 8254, as the kernel's `kvm_pit_state2`. */
  readonly pit: Uint8Array;
  readonly clock: ClockState;
  readonly devices: {
    readonly uart: UartState;
    readonly rtc: RtcState;
    readonly i8042: readonly number[];
    readonly ged: readonly number[];
    readonly virtio: readonly NamedVirtioState[];
  };
}
