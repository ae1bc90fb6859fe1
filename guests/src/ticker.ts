import { commandLine } from "./command-line.js";

/** Addresses and ports of the ticker (`lib/status.inc`; a test compares the two). */
export const tickerLayout = {
  /** Pairs of u64 `{ count, tsc }`, one for each value of the counter (modulo `slots=`), from 0 on (which stays unused). */
  SLOTS: 0x0200_0000,
  /** The pages that it dirties, `pages=` of them. */
  PAGES: 0x0400_0000,
  /** 4 bytes in: must answer the last value written to PORT_WRITE, plus 1. */
  PORT_IN: 0x600,
  /** 4 bytes out. */
  PORT_WRITE: 0x604,
  /** `rep outsb`: 64 bytes at a time of a stream of little-endian u64 words that count up from 0. */
  PORT_OUTS: 0x608,
  /** 8 bytes in, across a page border: see {@link tickerMmioByte}. */
  MMIO_READ: 0xd000_0ffc,
  /** 8 bytes out, across a page border: the low 32 bits of the counter, then their complement. */
  MMIO_WRITE: 0xd000_1ffc,
} as const;

/** Offsets in the ticker's status block at `guestLayout.STATUS`: u64 words. */
export const tickerStatus = {
  /** `STATUS_MAGIC_VALUE`, once the options are read. */
  MAGIC: 0x00,
  /** The counter, as last stored (the true one is in R15). */
  TICKS: 0x08,
  /** Local APIC timer interrupts. */
  LAPIC: 0x10,
  /** Interrupts of the I/O APIC's pin. */
  IRQ: 0x18,
  /** Interrupts by MSI. */
  MSI: 0x20,
  /** What the guest found wrong. */
  BAD: 0x28,
  /** What it does now: one of {@link tickerPhase}. */
  PHASE: 0x30,
  /** The last time stamp that a tick took. */
  TSC3: 0x38,
  /** The last time stamp taken at CPL0. */
  TSC0: 0x40,
  /** Round trips through PORT_IN. */
  IN: 0x48,
  /** u64 words sent to PORT_OUTS. */
  OUTS: 0x50,
  /** Reads of MMIO_READ. */
  MMIO: 0x58,
  /** 1 after the summary. */
  DONE: 0x60,
} as const;

/** The word at `tickerStatus.MAGIC`: "BATONTIK". */
export const TICKER_MAGIC = 0x4b49_544e_4f54_4142n;

/** The values of `tickerStatus.PHASE`: the class of code in which the guest was stopped. */
export const tickerPhase = {
  START: 0,
  TICK: 1,
  HLT: 2,
  SPIN3: 3,
  SPIN0: 4,
  IN: 5,
  OUTS: 6,
  MMIO: 7,
  WAIT: 8,
  DONE: 9,
} as const;

/** The bits of the ticker's `mix=` parameter. */
export const tickerMix = {
  /** Waits for its timer in HLT (otherwise spinning at CPL3). */
  HLT: 1,
  /** Spins at CPL3. */
  SPIN3: 2,
  /** Spins at CPL0. */
  SPIN0: 4,
  /** Writes PORT_WRITE, reads PORT_IN. */
  IN: 8,
  /** `rep outsb` to PORT_OUTS. */
  OUTS: 16,
  /** Reads MMIO_READ, writes MMIO_WRITE. */
  MMIO: 32,
} as const;

/** The byte that a device must give for a read at a guest-physical address around `tickerLayout.MMIO_READ`. */
export function tickerMmioByte(gpa: number): number {
  return (gpa + Math.floor(gpa / 4096)) & 0xff;
}

/** The eight words (at steps of 512 bytes) that the ticker leaves in a page in its sweep number `sweep`, from 0 on. */
export function tickerPageWord(page: number, sweep: number, word: number): bigint {
  const seed = ((BigInt(sweep) << 32n) | BigInt(page)) + BigInt(word);
  return (seed * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn;
}

/** The ticker's parameters, with the meaning and defaults that `guests/README.md` gives. */
export interface TickerOptions {
  readonly ticks?: number;
  readonly rate?: number;
  readonly dirty?: number;
  readonly pages?: number;
  readonly slots?: number;
  readonly print?: number;
  readonly dot?: 0 | 1;
  /** A sum of {@link tickerMix} bits. */
  readonly mix?: number;
  readonly level?: 0 | 3;
  readonly gsi?: number;
  readonly timer?: 0 | 1 | 2;
  readonly period?: number;
  readonly spin?: number;
}

/** The command line for the ticker. */
export function tickerCmdline(options: TickerOptions): string {
  return commandLine(options);
}

/** The last line of a ticker that ran to its end. */
export interface TickerSummary {
  readonly ticks: number;
  readonly lapic: number;
  readonly irq: number;
  readonly msi: number;
  readonly bad: number;
}

/** Finds the summary in the ticker's console output. */
export function parseTickerSummary(output: string): TickerSummary | undefined {
  const hex = "([0-9a-f]+)";
  const line = new RegExp(`ticker: ticks=${hex} lapic=${hex} irq=${hex} msi=${hex} bad=${hex}\\s`).exec(output);
  if (line === null) return undefined;
  const [ticks, lapic, irq, msi, bad] = line.slice(1).map((text) => Number.parseInt(text, 16));
  return { ticks: ticks!, lapic: lapic!, irq: irq!, msi: msi!, bad: bad! };
}
