/**
 * KVM virtual machines: `Kvm` makes a `Vm`, that makes `Vcpu`s; threads run them, a bus routes their accesses to devices,
 * boot protocols and ACPI tables bring an operating system up.
 *
 * @packageDocumentation
 */

// For those who build machines and devices.
export type { Aml } from "./acpi/aml.js";
export * as aml from "./acpi/aml.js";
export type { AcpiTables } from "./acpi/build.js";
export { writeAcpi } from "./acpi/build.js";
export type { FadtOptions, GenericAddress, MadtOptions } from "./acpi/tables.js";
export { fadt, madt, rsdp, table, xsdt } from "./acpi/tables.js";
// For users.
export type { BusDescription } from "./bus/bus.js";
export { Bus, describeRange } from "./bus/bus.js";
export type {
  AccessSize,
  BusDevice,
  BusHandler,
  BusRange,
  DeviceEvent,
  EmbedderHandler,
  HandlerContext,
  HandlerFactory,
  HandlerModule,
} from "./bus/handler.js";
export type { CapabilityName } from "./capability.js";
export { requiredCapabilities } from "./capability.js";
export type { ServiceHandle, ServiceListener } from "./device-thread/device-thread.js";
export { DeviceThread } from "./device-thread/device-thread.js";
export type { ServiceDescription } from "./device-thread/messages.js";
export type { Poller, PollingOptions, Service, ServiceContext, ServiceFactory } from "./device-thread/service.js";
export type { VcpuExit } from "./exit.js";
export { describeExit } from "./exit.js";
export type { CoalescedZone, Ioeventfd } from "./interrupt/ioeventfd.js";
export { assignIoeventfd, deassignIoeventfd, setCoalesced } from "./interrupt/ioeventfd.js";
export type { IrqchipState } from "./interrupt/irqchip.js";
export {
  createIrqchip,
  createPit,
  createSplitIrqchip,
  getIrqchip,
  getPit,
  setIrqchip,
  setIrqLine,
  setPit,
} from "./interrupt/irqchip.js";
export type { Irqfd } from "./interrupt/irqfd.js";
export { assignIrqfd, deassignIrqfd } from "./interrupt/irqfd.js";
export type { Msi } from "./interrupt/routing.js";
export { GsiRouting, signalMsi } from "./interrupt/routing.js";
// For those who carry states in streams.
export {
  type ChipsSections,
  type ChipsState,
  joinChips,
  type OwnChipsSection,
  ownChipsVmstate,
  saveChips,
} from "./interrupt/vmstate/chips.js";
export { type I8254Section, i8254Vmstate } from "./interrupt/vmstate/i8254.js";
export { type I8259Section, i8259Vmstate } from "./interrupt/vmstate/i8259.js";
export { type IoapicSection, ioapicVmstate } from "./interrupt/vmstate/ioapic.js";
export { Kvm } from "./kvm.js";
export { Struct } from "./struct.js";
export { threadPool } from "./thread-pool/thread-pool.js";
export { Vcpu } from "./vcpu.js";
export type { ExitReason } from "./vcpu-thread/control.js";
export { exitReasons } from "./vcpu-thread/control.js";
export type { PauseOptions } from "./vcpu-thread/vcpu-group.js";
export { VcpuGroup } from "./vcpu-thread/vcpu-group.js";
export type {
  StopPoint,
  VcpuStatistics,
  VcpuThreadEvents,
  VcpuThreadOptions,
  VcpuTime,
} from "./vcpu-thread/vcpu-thread.js";
export { VcpuThread } from "./vcpu-thread/vcpu-thread.js";
export type { Memslot } from "./vm.js";
export { Vm } from "./vm.js";
export type { MemoryMapEntry } from "./x86/boot/layout.js";
export { bootLayout, memoryMap } from "./x86/boot/layout.js";
export type { BootPlan, BootSource } from "./x86/boot/load.js";
export { loadKernel } from "./x86/boot/load.js";
export type { ClockState } from "./x86/clock.js";
export { getClock, setClock } from "./x86/clock.js";
export type { CpuidEntry, GuestCpuidOptions } from "./x86/cpuid.js";
export { checkCpuFeatures, cpuFeatureNames, guestCpuid } from "./x86/cpuid.js";
export type { MsrEntry } from "./x86/msr.js";
export { getMsrs, MSR_KVM_WALL_CLOCKS, MSR_TSC, MSR_TSC_DEADLINE, setMsrs } from "./x86/msr.js";
export type {
  DebugRegisters,
  DescriptorTable,
  Registers,
  Segment,
  SpecialRegisters,
  VcpuEvents,
} from "./x86/registers.js";
export type { SetVcpuStateOptions, VcpuState } from "./x86/state.js";
export {
  getCpuid,
  getEvents,
  getMpState,
  getRegisters,
  getSpecialRegisters,
  getTsc,
  getVcpuState,
  setCpuid,
  setMpState,
  setRegisters,
  setSpecialRegisters,
  setVcpuState,
  setXcrs,
} from "./x86/state.js";
export type { CpuPlace, CpuTopology } from "./x86/topology.js";
export { cpuPlace, topologyBits } from "./x86/topology.js";
export { type ApicSection, apicVmstate } from "./x86/vmstate/apic.js";
export {
  type ClockSections,
  joinClock,
  type KvmclockSection,
  kvmclockVmstate,
  type OwnClockSection,
  ownClockVmstate,
  saveClock,
} from "./x86/vmstate/clock.js";
export { type CpuCommonSection, type CpuSection, cpuCommonVmstate, cpuVmstate } from "./x86/vmstate/cpu.js";
export { type OwnVcpuSection, ownVcpuVmstate } from "./x86/vmstate/own-vcpu.js";
export { joinVcpu, saveVcpu, type VcpuSections } from "./x86/vmstate/vcpu.js";
