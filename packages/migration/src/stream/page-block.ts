/** RAM as other threads see it: by address and descriptor. */
export interface PageBlock {
  /** As in `pc.ram`. */
  readonly id: string;
  readonly hva: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** The raw descriptor, to find what was never touched. */
  readonly fd: number;
  readonly fdOffset: bigint;
  readonly share: boolean;
  readonly backend: { readonly kind: string };
}

/** RAM whose pages have places of their own in a file. */
export interface MappedBlock {
  readonly block: PageBlock;
  /** Where in the file the bitmap is, in bytes. */
  readonly bitmapOffset: number;
  readonly pagesOffset: number;
}

/** What moved of a block. */
export interface BlockCount {
  readonly id: string;
  /** Pages that went with their content. */
  readonly pages: number;
  readonly zeroPages: number;
}
