import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { liveFds } from "@baton/linux";
import { afterEach, describe, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { KVM_MEM_READONLY } from "../src/abi/kvm.js";
import { capabilityNumber, requiredCapabilities } from "../src/capability.js";
import { Kvm } from "../src/kvm.js";
import { getCpuid, getRegisters, setCpuid } from "../src/x86/state.js";
import { CODE, DATA, TestMachine } from "./support/kvm.js";

const HLT = 0xf4;
/** `mov byte [address], value`, relative to `ds`. */
const store = (address: number, value: number) => [0xc6, 0x06, address & 0xff, address >> 8, value];
const code = (name: string) => expect.objectContaining({ code: name });

describe("opening KVM", () => {
  it("says that there is none, and how to get it", () => {
    const open = () => Kvm.open("/nowhere/kvm");
    expect(open).toThrow(
      expect.objectContaining({
        code: "KVM_NOT_AVAILABLE",
        message: expect.stringMatching(/^Cannot open \/nowhere\/kvm: ENOENT; Load kvm_intel or kvm_amd/),
        hint: expect.any(String),
      }),
    );
  });

  it.each(["/dev/null", "/etc/hostname", "/tmp"])("refuses %s, which is no KVM, and leaves nothing open", (path) => {
    const before = liveFds().length;
    expect(() => Kvm.open(path)).toThrow(code("KVM_NOT_AVAILABLE"));
    expect(liveFds().length).toBe(before);
  });

  const isRoot = process.getuid?.() === 0;
  (isRoot ? it : it.skip)(`says that permission is missing${isRoot ? "" : " (skipped: not run by root)"}`, () => {
    const library = pathToFileURL(createRequire(import.meta.url).resolve("@baton/core-kvm")).href;
    const directory = mkdtempSync(join(tmpdir(), "baton-kvm-"));
    const path = join(directory, "kvm");
    writeFileSync(path, "", { mode: 0 });
    chmodSync(directory, 0o755);
    const script = `
      const { Kvm } = await import(${JSON.stringify(library)});
      process.setgid(65534);
      process.setuid(65534);
      try { Kvm.open(${JSON.stringify(path)}); } catch (error) { console.log(error.code + "|" + error.message); }`;
    const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    rmSync(directory, { recursive: true });
    expect(stderr).toBe("");
    expect(stdout).toMatch(
      /^KVM_PERMISSION_DENIED\|Cannot open .*: permission denied; Run as root, or .*usermod -aG kvm/,
    );
  });
});

describeKvm("the KVM API", () => {
  afterEach(() => expect(liveFds()).toEqual([]));

  it("answers for every capability, on the system and on a VM", () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    for (const name of Object.keys(capabilityNumber) as (keyof typeof capabilityNumber)[]) {
      expect(kvm.capability(name)).toBeGreaterThanOrEqual(0);
      expect(vm.capability(name)).toBeGreaterThanOrEqual(0);
    }
    for (const name of requiredCapabilities) expect(kvm.capability(name)).toBeGreaterThan(0);
  });

  it("knows the host's CPUID leaves, MSRs and run mapping", () => {
    using kvm = Kvm.open();
    expect(kvm.vcpuMmapSize).toBeGreaterThanOrEqual(4096);
    expect(kvm.supportedCpuid().find((entry) => entry.function === 1)).toBeDefined();
    expect(kvm.msrIndices()).toContain(0x10);
    expect(kvm.featureMsrIndices()).toEqual(expect.any(Array));
  });

  it("closes what it has made, whatever the order, and more than once", () => {
    const kvm = Kvm.open();
    const vm = kvm.createVm();
    vm.createVcpu(0);
    kvm.close();
    vm.close();
    vm.close();
    kvm.close();
    expect(() => kvm.capability("IRQCHIP")).toThrow(code("FD_CLOSED"));
    expect(() => vm.fd.raw).toThrow(code("FD_CLOSED"));
  });

  it("gives a vCPU the CPUID that it was given", () => {
    using machine = new TestMachine([HLT]);
    const supported = machine.kvm.supportedCpuid();
    setCpuid(machine.vcpu, supported);
    expect(getCpuid(machine.vcpu).length).toBe(supported.length);
  });

  it("names what failed: a vCPU that exists, a slot that overlaps", () => {
    using machine = new TestMachine([HLT]);
    const failed = (message: RegExp, errnoName: string) =>
      expect.objectContaining({ code: "SYSCALL_FAILED", errnoName, message: expect.stringMatching(message) });
    expect(() => machine.vm.createVcpu(0)).toThrow(failed(/KVM_CREATE_VCPU 0/, "EEXIST"));
    const [slot] = machine.vm.memslots;
    if (slot === undefined) throw new Error("the machine has no memory");
    expect(() => machine.vm.setMemslot({ ...slot, slot: 7 })).toThrow(failed(/slot 7 at 0x0/, "EEXIST"));
    expect(machine.vm.memslots.length).toBe(1);
  });
});

describeKvm("running a guest", () => {
  it("exits for ports, unclaimed memory and HLT, and takes answers", () => {
    // in al, 0x42; inc al; mov dx, 0x600; out dx, ax; mov [0], al; mov al, [1]; hlt
    const guest = [0xe4, 0x42, 0xfe, 0xc0, 0xba, 0x00, 0x06, 0xef, 0xa2, 0x00, 0x00, 0xa0, 0x01, 0x00, HLT];
    using machine = new TestMachine(guest);
    machine.enter(0xd000_0000n);
    const { vcpu } = machine;
    const input = vcpu.run();
    expect(input).toMatchObject({ reason: "io-in", port: 0x42, size: 1, count: 1 });
    if (input.reason === "io-in") input.data[0] = 0x29;
    const output = vcpu.run();
    expect(output).toMatchObject({ reason: "io-out", port: 0x600, size: 2 });
    if (output.reason === "io-out") expect([...output.data]).toEqual([0x2a, 0]);
    const write = vcpu.run();
    expect(write).toMatchObject({ reason: "mmio-write", gpa: 0xd000_0000n, size: 1 });
    if (write.reason === "mmio-write") expect([...write.data]).toEqual([0x2a]);
    const read = vcpu.run();
    expect(read).toMatchObject({ reason: "mmio-read", gpa: 0xd000_0001n, size: 1 });
    if (read.reason === "mmio-read") read.data[0] = 0x77;
    expect(vcpu.run()).toEqual({ reason: "hlt" });
    expect(getRegisters(vcpu).rax & 0xffn).toBe(0x77n);
  });

  it("completes an exit without running on", () => {
    using machine = new TestMachine([0xe4, 0x42, HLT]);
    const exit = machine.vcpu.run();
    if (exit.reason === "io-in") exit.data[0] = 0x33;
    expect(machine.vcpu.completeExit()).toEqual({ reason: "interrupted" });
    expect(getRegisters(machine.vcpu)).toMatchObject({ rax: 0x33n, rip: CODE + 2n });
    expect(machine.vcpu.run()).toEqual({ reason: "hlt" });
  });

  it("exits for writes to memory that is read-only, which stays as it was", () => {
    using machine = new TestMachine([...store(0x2010, 0x5a), ...[0xa0, 0x10, 0x20], HLT]);
    const { vm, memory, block } = machine;
    const [slot] = vm.memslots;
    if (slot === undefined || KVM_MEM_READONLY !== 2) throw new Error("the machine has no memory");
    vm.setMemslot({ ...slot, size: 0n });
    vm.setMemslot({ ...slot, size: DATA });
    vm.setMemslot({ slot: 1, gpa: DATA, hva: slot.hva + DATA, size: block.size - DATA, readOnly: true });
    memory.writeU8(DATA + 0x2010n, 0x11);
    const exit = machine.vcpu.run();
    expect(exit).toMatchObject({ reason: "mmio-write", gpa: DATA + 0x2010n, size: 1 });
    if (exit.reason === "mmio-write") expect([...exit.data]).toEqual([0x5a]);
    expect(machine.vcpu.run()).toEqual({ reason: "hlt" });
    expect(getRegisters(machine.vcpu).rax & 0xffn).toBe(0x11n);
    expect(memory.readU8(DATA + 0x2010n)).toBe(0x11);
  });

  it("logs the pages that a guest writes, each once", () => {
    const pages = [0, 3, 7, 3];
    using machine = new TestMachine([...pages.flatMap((page) => store(page * 0x1000, 1)), HLT]);
    const { vm, vcpu } = machine;
    const dirty = () => {
      const [slot] = vm.memslots;
      if (slot === undefined) throw new Error("the machine has no memory");
      const words = vm.dirtyLog(slot);
      return Array.from({ length: 256 }, (_, i) => i).filter((i) => ((words[i >> 5] as number) >>> (i & 31)) & 1);
    };
    vm.setDirtyLogging(true);
    dirty();
    expect(vcpu.run()).toEqual({ reason: "hlt" });
    const first = Number(DATA >> 12n);
    const written = dirty().filter((page) => page >= first);
    expect(written).toEqual([first, first + 3, first + 7]);
    expect(dirty()).toEqual([]);
    machine.enter();
    expect(vcpu.run()).toEqual({ reason: "hlt" });
    expect(dirty().filter((page) => page >= first)).toEqual(written);
    vm.setDirtyLogging(false);
    expect(vm.memslots[0]?.logDirty).toBe(false);
  });
});
