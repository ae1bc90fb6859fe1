import { Struct } from "../../struct.js";
import type { CpuSection } from "./cpu.js";

/** Places in the XSAVE area (Intel SDM 1, 13.4). */
const FOP = 6;
const FIP = 8;
const FDP = 16;
const MXCSR = 24;
const X87 = 32;
const XMM = 160;
const XSTATE_BV = 512;
const YMM = 576;
const STRIDE = 16;

/** Takes what QEMU's section has room for out of an XSAVE area. */
export function saveExtendedState(cpu: CpuSection, area: Struct): void {
  cpu.fpuControl = area.u16(0);
  cpu.fpuStatus = area.u16(2);
  cpu.fpuTag = ~area.u8(4) & 0xff;
  const pointers = { opcode: area.u16(FOP), ip: area.u64(FIP), dp: area.u64(FDP) };
  if (pointers.opcode !== 0 || pointers.ip !== 0n || pointers.dp !== 0n) cpu.fpuPointers = pointers;
  cpu.mxcsr = area.u32(MXCSR);
  cpu.xstateBv = area.u64(XSTATE_BV);
  cpu.x87 = Array.from({ length: 8 }, (_, i) => ({
    mantissa: area.u64(X87 + i * STRIDE),
    exponent: area.u16(X87 + i * STRIDE + 8),
  }));
  cpu.xmm = pairs(area, XMM);
  cpu.ymm = pairs(area, YMM);
}

function pairs(area: Struct, from: number) {
  return Array.from({ length: 16 }, (_, i) => ({
    low: area.u64(from + i * STRIDE),
    high: area.u64(from + i * STRIDE + 8),
  }));
}

/** An XSAVE area with what QEMU's section has; zeros elsewhere. */
export function joinExtendedState(cpu: CpuSection, bytes: number): Uint8Array {
  const area = new Struct(bytes);
  area.setU16(0, cpu.fpuControl).setU16(2, cpu.fpuStatus);
  area.setU8(4, ~cpu.fpuTag & 0xff);
  if (cpu.fpuPointers) {
    area.setU16(FOP, cpu.fpuPointers.opcode).setU64(FIP, cpu.fpuPointers.ip).setU64(FDP, cpu.fpuPointers.dp);
  }
  area.setU32(MXCSR, cpu.mxcsr).setU64(XSTATE_BV, cpu.xstateBv);
  for (const [i, { mantissa, exponent }] of cpu.x87.entries()) {
    area.setU64(X87 + i * STRIDE, mantissa).setU16(X87 + i * STRIDE + 8, exponent);
  }
  for (const [registers, from] of [
    [cpu.xmm, XMM],
    [cpu.ymm, YMM],
  ] as const) {
    for (const [i, { low, high }] of registers.entries()) {
      area.setU64(from + i * STRIDE, low).setU64(from + i * STRIDE + 8, high);
    }
  }
  return area.bytes;
}
