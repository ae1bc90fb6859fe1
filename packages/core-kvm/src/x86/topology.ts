import { BatonError } from "@baton/linux";

/** How a guest's vCPUs are arranged; the product of all parts is the number of vCPUs there can be. */
export interface CpuTopology {
  readonly sockets: number;
  readonly dies: number;
  /** Cores per die. */
  readonly cores: number;
  /** Threads per core. */
  readonly threads: number;
}

/** The place of one vCPU in its topology. */
export interface CpuPlace {
  readonly socket: number;
  readonly die: number;
  readonly core: number;
  readonly thread: number;
  /** The APIC id, which is also KVM's id of the vCPU. */
  readonly apicId: number;
}

/** How many low bits of an APIC id number the threads of a core, and the threads of a socket. */
export function topologyBits(topology: CpuTopology): { readonly threadBits: number; readonly coreBits: number } {
  const threadBits = bitsFor(topology.threads);
  return { threadBits, coreBits: threadBits + bitsFor(topology.cores) + bitsFor(topology.dies) };
}

/** Where the vCPU of an index (0 and up) sits. Fails with `CPU_TOPOLOGY` for an index beyond the topology. */
export function cpuPlace(topology: CpuTopology, index: number): CpuPlace {
  const { sockets, dies, cores, threads } = topology;
  if (!Number.isInteger(index) || index < 0 || index >= sockets * dies * cores * threads) {
    throw new BatonError(
      "CPU_TOPOLOGY",
      `vCPU ${index} is outside a topology of ${sockets * dies * cores * threads} vCPUs`,
    );
  }
  const thread = index % threads;
  const core = Math.floor(index / threads) % cores;
  const die = Math.floor(index / (threads * cores)) % dies;
  const socket = Math.floor(index / (threads * cores * dies));
  const { threadBits, coreBits } = topologyBits(topology);
  const dieBits = threadBits + bitsFor(cores);
  return { socket, die, core, thread, apicId: (socket << coreBits) | (die << dieBits) | (core << threadBits) | thread };
}

function bitsFor(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}
