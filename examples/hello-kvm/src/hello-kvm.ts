import { describeExit, getSpecialRegisters, Kvm, setRegisters, setSpecialRegisters } from "@baton/core-kvm";
import { GuestMemory, RamBlock } from "@baton/memory";

// mov dx, 0x3f8; add al, bl; add al, '0'; out dx, al; mov al, '\n'; out dx, al; hlt
const code = Uint8Array.of(0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, 0xf4);

using kvm = Kvm.open();
using block = RamBlock.create({ id: "ram", size: 4096n, backend: { kind: "memfd" } });
const memory = GuestMemory.create([{ gpa: 0x1000n, block, offset: 0n, size: 4096n }]);
memory.write(0x1000n, code);

using vm = kvm.createVm();
vm.setMemory(memory);
const vcpu = vm.createVcpu(0);
const special = getSpecialRegisters(vcpu);
setSpecialRegisters(vcpu, { ...special, cs: { ...special.cs, base: 0n, selector: 0 } });
const zero = { rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rsp: 0n, rbp: 0n, r8: 0n, r9: 0n, r10: 0n, r11: 0n };
const more = { r12: 0n, r13: 0n, r14: 0n, r15: 0n };
setRegisters(vcpu, { ...zero, ...more, rip: 0x1000n, rax: 2n, rbx: 2n, rflags: 2n });

for (;;) {
  const exit = vcpu.run();
  if (exit.reason === "io-out" && exit.port === 0x3f8) process.stdout.write(exit.data);
  else if (exit.reason === "hlt") break;
  else throw new Error(`unexpected exit: ${describeExit(exit)}`);
}
