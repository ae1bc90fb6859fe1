import { addressOf, BatonError, Fd, ioctl } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import {
  KVM_CHECK_EXTENSION,
  KVM_CLEAR_DIRTY_LOG,
  KVM_CREATE_VCPU,
  KVM_ENABLE_CAP,
  KVM_GET_DIRTY_LOG,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  KVM_SET_BOOT_CPU_ID,
  KVM_SET_IDENTITY_MAP_ADDR,
  KVM_SET_TSS_ADDR,
  KVM_SET_USER_MEMORY_REGION,
  kvm_clear_dirty_log,
  kvm_dirty_log,
  kvm_enable_cap,
  kvm_userspace_memory_region,
} from "./abi/kvm.js";
import { type CapabilityName, capabilityNumber } from "./capability.js";
import type { Kvm } from "./kvm.js";
import { Struct } from "./struct.js";
import { Vcpu } from "./vcpu.js";

/** A window of guest physical addresses backed by host memory (KVM API 4.35). Addresses and sizes are in bytes, whole pages. */
export interface Memslot {
  readonly slot: number;
  readonly gpa: bigint;
  readonly hva: bigint;
  readonly size: bigint;
  /** Guest writes become MMIO exits. */
  readonly readOnly?: boolean;
  /** KVM records the guest's writes for {@link Vm.dirtyLog}. */
  readonly logDirty?: boolean;
}

/** One KVM virtual machine: its memory slots and vCPUs. Interrupt controllers, clocks and doorbells take it as argument. */
export class Vm {
  readonly kvm: Kvm;
  readonly fd: Fd;
  readonly #memslots = new Map<number, Memslot>();
  readonly #vcpus: Vcpu[] = [];

  private constructor(kvm: Kvm, fd: Fd) {
    this.kvm = kvm;
    this.fd = fd;
  }

  /** Takes over a descriptor that `KVM_CREATE_VM` returned. Users call {@link Kvm.createVm}. */
  static create(kvm: Kvm, rawFd: number): Vm {
    return new Vm(kvm, Fd.adopt(rawFd, "kvm-vm"));
  }

  /** What `KVM_CHECK_EXTENSION` answers on this VM; some values differ from the system's (KVM API 4.4). */
  capability(name: CapabilityName): number {
    return ioctl(this.fd, KVM_CHECK_EXTENSION, capabilityNumber[name], `KVM_CHECK_EXTENSION ${name}`);
  }

  /** Turns a capability on (KVM API 4.37, section 7). */
  enableCapability(name: CapabilityName, args: readonly bigint[] = []): void {
    const cap = new Struct(kvm_enable_cap.size).setU32(kvm_enable_cap.cap, capabilityNumber[name]);
    args.forEach((value, i) => {
      cap.setU64(kvm_enable_cap.args + i * 8, value);
    });
    ioctl(this.fd, KVM_ENABLE_CAP, cap.bytes, `KVM_ENABLE_CAP ${name}`);
  }

  /** Adds a slot, or changes the flags or address of one; a size of 0 removes it (KVM API 4.35). */
  setMemslot(slot: Memslot): void {
    const flags = (slot.readOnly ? KVM_MEM_READONLY : 0) | (slot.logDirty ? KVM_MEM_LOG_DIRTY_PAGES : 0);
    const region = new Struct(kvm_userspace_memory_region.size)
      .setU32(kvm_userspace_memory_region.slot, slot.slot)
      .setU32(kvm_userspace_memory_region.flags, flags)
      .setU64(kvm_userspace_memory_region.guest_phys_addr, slot.gpa)
      .setU64(kvm_userspace_memory_region.memory_size, slot.size)
      .setU64(kvm_userspace_memory_region.userspace_addr, slot.hva);
    const what = `KVM_SET_USER_MEMORY_REGION slot ${slot.slot} at 0x${slot.gpa.toString(16)}`;
    ioctl(this.fd, KVM_SET_USER_MEMORY_REGION, region.bytes, what);
    if (slot.size === 0n) this.#memslots.delete(slot.slot);
    else this.#memslots.set(slot.slot, slot);
  }

  /** Gives the guest all regions of its memory, numbered from slot 0 in order of address. */
  setMemory(memory: GuestMemory): void {
    memory.describe().regions.forEach((region, slot) => {
      this.setMemslot({ slot, gpa: region.gpa, hva: region.hva, size: region.size });
    });
  }

  /** The slots in use. */
  get memslots(): readonly Memslot[] {
    return [...this.#memslots.values()];
  }

  /** Starts or stops the recording of guest writes in every slot that can be written. */
  setDirtyLogging(on: boolean): void {
    for (const slot of this.memslots) {
      if (!slot.readOnly && (slot.logDirty ?? false) !== on) this.setMemslot({ ...slot, logDirty: on });
    }
  }

  /** The pages of a slot written since the last call, a bit each, lowest address first (KVM API 4.8). */
  dirtyLog(slot: Memslot): Uint32Array {
    const words = new Uint32Array(Math.ceil(Number(slot.size / 4096n) / 64) * 2);
    const log = new Struct(kvm_dirty_log.size)
      .setU32(kvm_dirty_log.slot, slot.slot)
      .setU64(kvm_dirty_log.dirty_bitmap, addressOf(words));
    ioctl(this.fd, KVM_GET_DIRTY_LOG, log.bytes, `KVM_GET_DIRTY_LOG slot ${slot.slot}`);
    return words;
  }

  /** Marks pages clean again under `MANUAL_DIRTY_LOG_PROTECT2`; `firstPage` and `pages` in multiples of 64 (KVM API 4.117). */
  clearDirtyLog(slot: Memslot, firstPage: bigint, pages: number, words: Uint32Array): void {
    const log = new Struct(kvm_clear_dirty_log.size)
      .setU32(kvm_clear_dirty_log.slot, slot.slot)
      .setU32(kvm_clear_dirty_log.num_pages, pages)
      .setU64(kvm_clear_dirty_log.first_page, firstPage)
      .setU64(kvm_clear_dirty_log.dirty_bitmap, addressOf(words));
    ioctl(this.fd, KVM_CLEAR_DIRTY_LOG, log.bytes, `KVM_CLEAR_DIRTY_LOG slot ${slot.slot}`);
  }

  /** Where Intel hosts keep three pages and one page of their own in guest addresses (KVM API 4.41, 4.42). */
  setInternalPages(pages: { readonly tssGpa: bigint; readonly identityMapGpa: bigint }): void {
    const address = new Struct(8).setU64(0, pages.identityMapGpa);
    ioctl(this.fd, KVM_SET_IDENTITY_MAP_ADDR, address.bytes, "KVM_SET_IDENTITY_MAP_ADDR");
    ioctl(this.fd, KVM_SET_TSS_ADDR, pages.tssGpa, "KVM_SET_TSS_ADDR");
  }

  /** Which vCPU starts running by itself; before the first vCPU is made (KVM API 4.41). */
  setBootCpu(id: number): void {
    ioctl(this.fd, KVM_SET_BOOT_CPU_ID, id, "KVM_SET_BOOT_CPU_ID");
  }

  /** Makes a vCPU; on x86 `id` is its APIC id (KVM API 4.7). */
  createVcpu(id: number): Vcpu {
    const max = this.kvm.capability("MAX_VCPUS");
    if (this.#vcpus.length >= max) {
      throw new BatonError("VCPU_LIMIT", `vCPU ${id}: KVM on this host allows ${max} vCPUs in a VM`);
    }
    const fd = Fd.adopt(ioctl(this.fd, KVM_CREATE_VCPU, id, `KVM_CREATE_VCPU ${id}`), `kvm-vcpu-${id}`);
    const vcpu = Vcpu.create(this, id, fd);
    this.#vcpus.push(vcpu);
    return vcpu;
  }

  /** The vCPUs in the order in which they were made. */
  get vcpus(): readonly Vcpu[] {
    return this.#vcpus;
  }

  /** Closes the vCPUs and the VM. No vCPU may be running. May be called again. */
  close(): void {
    for (const vcpu of this.#vcpus) vcpu.close();
    this.#vcpus.length = 0;
    this.#memslots.clear();
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
