/** The values of `mode=` of the guest `hostile`. */
export const hostileModes = ["triple", "garbage0", "garbage3", "ports", "mmio", "sweep", "halt"] as const;

/** What the guest `hostile` can do. */
export type HostileMode = (typeof hostileModes)[number];

/** The MMIO hole that `mode=mmio` reads and writes: one register in each page. */
export const hostileMmio = { MMIO_FIRST: 0xc000_0000, MMIO_END: 0xfec0_0000 } as const;

/** Ports (first and last) that `mode=ports` leaves alone, because on some machine they end or reset it. */
export const hostileSkippedPorts: readonly (readonly [number, number])[] = [
  [0x64, 0x64],
  [0x92, 0x92],
  [0xf4, 0xf4],
  [0x600, 0x607],
  [0xcf9, 0xcf9],
  [0xb000, 0xb03f],
];
