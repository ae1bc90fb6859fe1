import { getRegisters, getSpecialRegisters } from "@baton/core-kvm";
import type { VirtualMachine } from "../../src/index.js";

const CALL = 0xe8;

/**
 * Whether the host's KVM reports a stack pointer that is older than the instruction pointer. Some software KVMs do, about
 * once in a thousand stops at user level, right after a `call`: the return address is on the stack, RSP is above it. The
 * guest itself is well and goes on in place, but such registers must not be carried elsewhere.
 */
export function hasStaleStackPointer(vm: VirtualMachine): boolean {
  const [vcpu] = vm.machine.vm.vcpus;
  if (vcpu === undefined || getSpecialRegisters(vcpu).cs.dpl !== 3) return false;
  const { rip, rsp } = getRegisters(vcpu);
  const { memory } = vm.machine;
  const returnAddress = memory.readU64(rsp - 8n);
  if (!memory.has(returnAddress - 5n, 5)) return false;
  const call = memory.read(returnAddress - 5n, 5);
  const distance = BigInt(new DataView(call.buffer, call.byteOffset).getInt32(1, true));
  return call[0] === CALL && returnAddress + distance === rip;
}
