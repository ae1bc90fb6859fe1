import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { aml, type BusDevice, bootLayout, type CpuTopology, cpuPlace, fadt, madt, table } from "@baton/core-kvm";
import { gedLayout } from "../platform/acpi-ged.js";
import { RTC_SHARED_BYTES } from "../platform/rtc.js";
import { Uart16550, type UartOptions } from "../platform/uart-16550.js";
import { gedAml } from "./ged-aml.js";
import { type VirtioSlot, virtioAml } from "./virtio-slots.js";

/** Ports and interrupts of the microvm machine's fixed devices. */
export const microvmLayout = {
  com1: { port: 0x3f8n, gsi: 4 },
  i8042: 0x60n,
  rtc: 0x70n,
  debugExit: 0xf4n,
  pvpanic: 0x505n,
  ioapicId: 0,
} as const;

const here = createRequire(import.meta.url);

/** Shared memory of the platform's devices: their whole state. */
export interface PlatformMemory {
  readonly uart: SharedArrayBuffer;
  readonly i8042: SharedArrayBuffer;
  readonly rtc: SharedArrayBuffer;
  readonly ged: SharedArrayBuffer;
}

/** Shared memory of platform devices in their reset state. */
export function createPlatformMemory(): PlatformMemory {
  return {
    uart: Uart16550.createShared(),
    i8042: new SharedArrayBuffer(12),
    rtc: new SharedArrayBuffer(RTC_SHARED_BYTES),
    ged: new SharedArrayBuffer(4),
  };
}

/** The devices that every microvm has, and COM1 where a console is given. */
export function platformDevices(
  memory: PlatformMemory,
  uart: Omit<UartOptions, "device" | "gsi"> | null,
): readonly BusDevice[] {
  const module = pathToFileURL(here.resolve("@baton/reference-vmm/platform")).href;
  const pio = (base: bigint, length: number, offset = 0) => ({ space: "pio" as const, base, length, offset });
  const inline = (factory: string, shared: SharedArrayBuffer, options: unknown = null) => ({
    thread: "vcpu" as const,
    module,
    factory,
    shared,
    options,
  });
  const none = new SharedArrayBuffer(0);
  const devices: BusDevice[] = [
    {
      name: "i8042",
      ranges: [pio(microvmLayout.i8042, 1), pio(microvmLayout.i8042 + 4n, 1, 4)],
      handler: inline("i8042", memory.i8042),
    },
    { name: "rtc", ranges: [pio(microvmLayout.rtc, 2)], handler: inline("rtc", memory.rtc) },
    { name: "debug-exit", ranges: [pio(microvmLayout.debugExit, 1)], handler: inline("debugExit", none) },
    { name: "pvpanic", ranges: [pio(microvmLayout.pvpanic, 1)], handler: inline("pvpanic", none) },
    {
      name: "ged",
      ranges: [
        { space: "mmio", base: gedLayout.events, length: 4 },
        { space: "mmio", base: gedLayout.registers, length: 4, offset: 0x200 },
      ],
      handler: inline("acpiGed", memory.ged, { device: "ged" }),
    },
  ];
  if (uart !== null) {
    const options: UartOptions = { device: "serial0", gsi: microvmLayout.com1.gsi, ...uart };
    devices.push({
      name: "serial0",
      ranges: [pio(microvmLayout.com1.port, 8)],
      handler: inline("uart16550", memory.uart, options),
    });
  }
  return devices;
}

/** The ACPI tables of the machine. */
export function microvmAcpi(options: {
  readonly vcpus: number;
  readonly topology: CpuTopology;
  readonly serial: boolean;
  /** Virtio devices that the guest finds here; none unless given. */
  readonly virtio?: readonly VirtioSlot[];
}) {
  const { sockets, dies, cores, threads } = options.topology;
  const cpus = Array.from({ length: sockets * dies * cores * threads }, (_, index) => ({
    apicId: cpuPlace(options.topology, index).apicId,
    enabled: index < options.vcpus,
  }));
  const com1 = aml.device(
    "COM1",
    aml.name("_HID", aml.eisaId("PNP0501")),
    aml.name("_UID", aml.integer(1)),
    aml.name("_STA", aml.integer(0x0f)),
    aml.name(
      "_CRS",
      aml.resources(aml.ioPorts(Number(microvmLayout.com1.port), 8), aml.interrupt(microvmLayout.com1.gsi, "edge")),
    ),
  );
  const rtc = aml.device(
    "RTC0",
    aml.name("_HID", aml.eisaId("PNP0B00")),
    aml.name("_CRS", aml.resources(aml.ioPorts(Number(microvmLayout.rtc), 2))),
  );
  const panic = aml.device(
    "PEVT",
    aml.name("_HID", aml.string("QEMU0001")),
    aml.name("_STA", aml.integer(0x0b)),
    aml.name("_CRS", aml.resources(aml.ioPorts(Number(microvmLayout.pvpanic), 1))),
  );
  const body = aml.concat(
    aml.scope("\\_SB", ...(options.serial ? [com1] : []), rtc, panic, ...virtioAml(options.virtio ?? [])),
    gedAml(),
  );
  const register = (offset: number) => ({
    space: "memory" as const,
    address: gedLayout.registers + BigInt(offset),
    bits: 8 as const,
  });
  return {
    dsdt: table("DSDT", 2, body),
    fadt: (dsdt: bigint) =>
      fadt({
        dsdt,
        resetRegister: register(gedLayout.reset),
        resetValue: gedLayout.resetValue,
        sleepControl: register(gedLayout.sleepControl),
        sleepStatus: register(gedLayout.sleepStatus),
        has8042: false,
      }),
    others: [
      madt({
        lapic: bootLayout.lapic,
        ioapic: { id: microvmLayout.ioapicId, address: bootLayout.ioapic, gsiBase: 0 },
        cpus,
      }),
    ],
  };
}
