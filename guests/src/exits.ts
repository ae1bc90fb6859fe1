/** Ports and the MMIO register of the guest `exits`. */
export const exitsLayout = {
  /** 4 bytes out: `kind << 8` when a loop starts, `kind << 8 | 1` when it has ended (see {@link exitsKind}). */
  PORT_MARK: 0x4e0,
  /** 1 byte out, 1 byte in. */
  PORT_TARGET: 0x4e4,
  /** 4 bytes out, 4 bytes in. */
  MMIO_TARGET: 0xd000_0000,
} as const;

/** The loops of the guest `exits`, in their order. */
export const exitsKind = {
  KIND_PORT_OUT: 1,
  KIND_PORT_IN: 2,
  KIND_MMIO_OUT: 3,
  KIND_MMIO_IN: 4,
} as const;
