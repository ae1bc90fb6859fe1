import { aml } from "@baton/core-kvm";
import { MMIO_LENGTH } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";

/** Where the registers of virtio devices begin; each has {@link MMIO_LENGTH} bytes. */
const BASE = 0xf010_0000n;
/** The interrupts that nothing else on the machine uses; edge-triggered. */
const GSIS: readonly number[] = [5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

/** A place for a virtio-mmio device. */
export interface VirtioSlot {
  readonly base: bigint;
  readonly gsi: number;
}

/** The place of the n-th device. Fails with `DEVICE_LIMIT` where there is none. */
export function virtioSlot(index: number): VirtioSlot {
  const gsi = GSIS[index];
  if (gsi === undefined) {
    throw new BatonError("DEVICE_LIMIT", `The microvm machine has places for ${GSIS.length} virtio devices`, {
      hint: "Slots for hot-plug count as well, whether there is a device in them or not",
    });
  }
  return { base: BASE + BigInt(index * MMIO_LENGTH), gsi };
}

/** The devices in the words of ACPI: LNRO0005, as Linux's virtio_mmio driver expects. */
export function virtioAml(slots: readonly VirtioSlot[]): Uint8Array[] {
  return slots.map(({ base, gsi }, index) =>
    aml.device(
      `VR${index.toString(16).toUpperCase().padStart(2, "0")}`,
      aml.name("_HID", aml.string("LNRO0005")),
      aml.name("_UID", aml.integer(index)),
      aml.name("_CCA", aml.integer(1)),
      aml.name("_CRS", aml.resources(aml.memory32Fixed(base, MMIO_LENGTH), aml.interrupt(gsi, "edge"))),
    ),
  );
}

/** The devices in the words of Linux's command line, for kernels without ACPI. */
export function virtioCmdline(slots: readonly VirtioSlot[]): string {
  return slots.map(({ base, gsi }) => `virtio_mmio.device=${MMIO_LENGTH}@0x${base.toString(16)}:${gsi}`).join(" ");
}
