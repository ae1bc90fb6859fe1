import { BatonError } from "@baton/linux";

/** Where a piece of RAM stands in the guest; bytes. */
export interface LayoutRegion {
  readonly gpa: bigint;
  /** Into the RAM that is laid out. */
  readonly offset: bigint;
  readonly size: bigint;
}

/** Where RAM leaves out the hole for devices; bytes. */
export interface LayoutOptions {
  /** Where low RAM ends at most: 3 GiB unless given. */
  readonly lowLimit?: bigint;
  /** Where RAM goes on: 4 GiB unless given. */
  readonly highBase?: bigint;
}

/** 3 GiB: RAM of a PC ends here at most below the hole for PCI, the interrupt controllers and firmware. */
export const PCI_HOLE_START = 0xc000_0000n;
/** 4 GiB: RAM goes on here. */
export const PCI_HOLE_END = 0x1_0000_0000n;

/** Lays `size` bytes of RAM around the hole: from 0 to `lowLimit`, the rest from `highBase` on. */
export function layoutRam(size: bigint, options: LayoutOptions = {}): LayoutRegion[] {
  const { lowLimit = PCI_HOLE_START, highBase = PCI_HOLE_END } = options;
  if (lowLimit <= 0n || highBase < lowLimit || (lowLimit | highBase) & 0xfffn) {
    throw new BatonError(
      "INVALID_ARGUMENT",
      `RAM cannot leave out a hole from 0x${lowLimit.toString(16)} to 0x${highBase.toString(16)}`,
    );
  }
  if (size <= lowLimit) return [{ gpa: 0n, offset: 0n, size }];
  return [
    { gpa: 0n, offset: 0n, size: lowLimit },
    { gpa: highBase, offset: lowLimit, size: size - lowLimit },
  ];
}
