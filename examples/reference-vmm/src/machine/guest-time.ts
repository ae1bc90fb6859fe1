import { type ClockState, MSR_KVM_WALL_CLOCKS, MSR_TSC, type VcpuState } from "@baton/core-kvm";
import type { GuestMemory } from "@baton/memory";

/** `struct pvclock_wall_clock`, in bytes. */
const WALL_CLOCK_BYTES = 12;

/** The real time in ns that has passed since a clock was read; 0 where that is not known, or the host's was set back. */
export function elapsedSince({ realtimeNs }: Pick<ClockState, "realtimeNs">, nowNs: bigint): bigint {
  return realtimeNs === null || nowNs < realtimeNs ? 0n : nowNs - realtimeNs;
}

/** A vCPU whose TSC has gone on for so long: for a host whose own has begun anew since. */
export function withLaterTsc<S extends Pick<VcpuState, "msrs" | "tscKhz">>(state: S, elapsedNs: bigint): S {
  const ticks = (elapsedNs * BigInt(state.tscKhz ?? 0)) / 1_000_000n;
  const msrs = state.msrs.map((msr) => (msr.index === MSR_TSC ? { ...msr, data: msr.data + ticks } : msr));
  return { ...state, msrs };
}

/**
 * Keeps what the guest has of the time of its boot; the function that is returned gives it back. Setting vCPUs has KVM
 * write it anew, from a clock that is not set yet.
 */
export function keepWallClocks(memory: GuestMemory, vcpus: readonly Pick<VcpuState, "msrs">[]): () => void {
  const places = vcpus.flatMap(({ msrs }) => msrs.filter(({ index }) => MSR_KVM_WALL_CLOCKS.includes(index)));
  const kept = [...new Set(places.map(({ data }) => data))]
    .filter((gpa) => gpa !== 0n && memory.has(gpa, WALL_CLOCK_BYTES))
    .map((gpa) => ({ gpa, bytes: memory.read(gpa, WALL_CLOCK_BYTES) }));
  return () => {
    for (const { gpa, bytes } of kept) memory.write(gpa, bytes);
  };
}
