/**
 * A minimal PVH ELF of machine code for one test: 32-bit protected mode, flat segments, entry at the first byte.
 * `code` is placed at 1 MiB.
 */
export function pvhProgram(code: readonly number[]): Uint8Array {
  const HEADERS = 64 + 2 * 56;
  const NOTE = 20;
  const file = new Uint8Array(HEADERS + NOTE + code.length);
  const view = new DataView(file.buffer);
  const base = 0x100000n;
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, base, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 2, true);
  const header = (at: number, type: number, offset: number, address: bigint, size: number) => {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, 5, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, address, true);
    view.setBigUint64(at + 24, address, true);
    view.setBigUint64(at + 32, BigInt(size), true);
    view.setBigUint64(at + 40, BigInt(size), true);
  };
  header(64, 1, HEADERS + NOTE, base, code.length);
  header(120, 4, HEADERS, 0n, NOTE);
  view.setUint32(HEADERS, 4, true);
  view.setUint32(HEADERS + 4, 4, true);
  view.setUint32(HEADERS + 8, 18, true);
  file.set([0x58, 0x65, 0x6e, 0], HEADERS + 12);
  view.setUint32(HEADERS + 16, Number(base), true);
  file.set(code, HEADERS + NOTE);
  return file;
}

/** `jmp` to itself. */
export const SPIN: readonly number[] = [0xeb, 0xfe];

/** `mov dx, port; in al, dx`, again and again. */
export function readPortForEver(port: number): readonly number[] {
  return [0x66, 0xba, port & 0xff, port >> 8, 0xec, 0xeb, 0xfd];
}

/** Prints `>` on COM1, then sends every byte that comes in back out, for ever. */
export const ECHO: readonly number[] = [
  ...[0x66, 0xba, 0xf8, 0x03], // mov dx, 0x3f8
  ...[0xb0, 0x3e, 0xee], // mov al, '>'; out dx, al
  ...[0x66, 0xba, 0xfd, 0x03], // mov dx, 0x3fd
  ...[0xec, 0xa8, 0x01, 0x74, 0xfb], // in al, dx; test al, 1; jz -5
  ...[0x66, 0xba, 0xf8, 0x03], // mov dx, 0x3f8
  ...[0xec, 0xee, 0xeb, 0xef], // in al, dx; out dx, al; jmp -17
];
