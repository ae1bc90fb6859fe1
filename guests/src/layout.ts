/** Guest-physical addresses that every guest uses (`lib/layout.inc`; a test compares the two). */
export const guestLayout = {
  /** Where the image is loaded; its entry (32-bit PVH) is the first byte. */
  IMAGE: 0x0010_0000,
  /** Page tables: the low 4 GiB, identity, 2 MiB pages, open to CPL3. */
  PML4: 0x0020_0000,
  IDT: 0x0020_6000,
  /** Top of the stack of CPL0. */
  STACK0: 0x0020_d000,
  /** Top of the stack of CPL3. */
  STACK3: 0x0021_0000,
  /** The guest's copy of its command line, ended by a zero. */
  CMDLINE: 0x0021_0000,
  CMDLINE_SIZE: 0x1000,
  /** The ticker's status block. */
  STATUS: 0x0021_1000,
} as const;

/** Ports that every guest uses. */
export const guestPorts = {
  /** A 16550: the guests write characters to it and never read it. */
  COM1: 0x3f8,
  /** One byte out ends the guest: see {@link guestExit}. QEMU: `-device isa-debug-exit,iobase=0xf4,iosize=1`. */
  DEBUG_EXIT: 0xf4,
  /** 0xfe to it asks for a reset: what a guest does when nothing listens at DEBUG_EXIT. */
  I8042_COMMAND: 0x64,
} as const;

/** What a guest writes to `guestPorts.DEBUG_EXIT`; QEMU then ends with the status `value * 2 + 1`. */
export const guestExit = {
  /** All is well. */
  EXIT_OK: 0x10,
  /** The guest found something wrong, and printed it. */
  EXIT_BAD: 0x11,
  /** An exception that the guest did not expect; printed as `exception <vector> <error> <rip> <cs> <rflags> <rsp> <ss> <cr2>`. */
  EXIT_EXCEPTION: 0x12,
  /** A parameter that the guest cannot use. */
  EXIT_ARGUMENT: 0x13,
} as const;

/** Interrupt vectors of the ticker. */
export const guestVectors = {
  /** The local APIC's timer. */
  VECTOR_TIMER: 0x40,
  /** The I/O APIC's pin `gsi=` (edge, active high). */
  VECTOR_IRQ: 0x50,
  /** For an MSI: address 0xfee00000, data 0x51. */
  VECTOR_MSI: 0x51,
} as const;
