/** Parameters of every guest that drives virtio devices; `guests/README.md` has their meaning and defaults. */
export interface VirtioOptions {
  readonly ring?: "split" | "packed";
  readonly indirect?: 0 | 1;
  readonly event?: 0 | 1;
  readonly inorder?: 0 | 1;
  /** Descriptors of a queue at most. */
  readonly queue?: number;
  readonly irq?: 0 | 1;
  readonly trigger?: "edge" | "level";
  /** MiB of RAM, for a machine whose start info has no memory map. */
  readonly ram?: number;
}

/** Where a virtio-mmio device is (virtio 1.2, 4.2). */
export interface VirtioMmioSlot {
  /** Guest-physical address of its registers. */
  readonly base: number;
  /** Its pin of the I/O APIC. */
  readonly line: number;
  /** Bytes of its registers; 512 by default. */
  readonly size?: number;
}

/** The words that tell a guest of its devices, as Linux's driver reads them. */
export function virtioMmioWords(slots: readonly VirtioMmioSlot[]): string {
  return slots
    .map(({ base, line, size = 512 }) => `virtio_mmio.device=${size}@0x${base.toString(16)}:${line}`)
    .join(" ");
}

/** What a guest and a device agreed on. */
export interface VirtioAgreement {
  /** "blk", "net", "con", "rng", "bal", "vs". */
  readonly name: string;
  readonly base: number;
  readonly line: number;
  /** Feature bits (virtio 1.2, 6). */
  readonly offered: bigint;
  readonly agreed: bigint;
  readonly ring: "split" | "packed";
  readonly indirect: boolean;
  readonly event: boolean;
  readonly inorder: boolean;
  /** Descriptors of its first queue. */
  readonly size: number;
}

/** Finds all lines `virtio …` in a guest's console output. */
export function parseVirtioAgreements(output: string): VirtioAgreement[] {
  const pattern =
    /^virtio (\S+) base=0x(\S+) line=(\d+) offered=0x(\S+) agreed=0x(\S+) ring=(split|packed) indirect=(.) event=(.) inorder=(.) size=(\d+)\r?$/gm;
  return [...output.matchAll(pattern)].map(([, name, base, line, offered, agreed, ring, ...rest]) => ({
    name: name!,
    base: Number.parseInt(base!, 16),
    line: Number(line),
    offered: BigInt(`0x${offered}`),
    agreed: BigInt(`0x${agreed}`),
    ring: ring as "split" | "packed",
    indirect: rest[0] === "1",
    event: rest[1] === "1",
    inorder: rest[2] === "1",
    size: Number(rest[3]),
  }));
}
