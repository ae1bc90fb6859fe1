/**
 * The reference VMM as a library: `createVm` makes a virtual machine inside the calling process.
 *
 * @packageDocumentation
 */

// For users.
export type {
  ConsoleBackend,
  CustomDevice,
  DeviceDescription,
  SerialDevice,
  SerialOptions,
  VmConfig,
} from "./config.js";
export { customDevice, serial } from "./config.js";
export type { CreateVmOptions } from "./create-vm.js";
export { createVm } from "./create-vm.js";
export type { ShutdownCause, TimedVmEvent, VmEvent } from "./events.js";
// For those who build surfaces on it.
export type { Machine, MachineOptions } from "./machine/machine.js";
export type { MachineState } from "./machine/state.js";
export { type MigrationBlocker, migrationBlockers } from "./machine/vmstate/blockers.js";
export {
  checkInventory,
  type InventoryDevice,
  type InventoryOptions,
  inventoryDifferences,
  type MachineInventory,
  machineInventory,
} from "./machine/vmstate/inventory.js";
export {
  type IncomingSection,
  joinSections,
  type Section,
  type SectionOptions,
  type SectionState,
  saveSections,
  sectionsOf,
} from "./machine/vmstate/sections.js";
export type { OutputPolicy } from "./platform/uart-16550.js";
export type { RunState } from "./run-state.js";
export { isRunning, needsReset, RunStateMachine } from "./run-state.js";
export type { IncomingState, VmOutcome } from "./virtual-machine.js";
export { VirtualMachine } from "./virtual-machine.js";
