import {
  addressOf,
  type Fd,
  ioctl,
  MAP_SHARED,
  mmap,
  munmap,
  PROT_READ,
  PROT_WRITE,
  tryIoctl,
  view,
} from "@baton/linux";
import {
  KVM_INTERRUPT,
  KVM_KVMCLOCK_CTRL,
  KVM_NMI,
  KVM_RUN,
  KVM_SET_GUEST_DEBUG,
  KVM_TRANSLATE,
  kvm_guest_debug,
  kvm_run,
  kvm_translation,
} from "./abi/kvm.js";
import { decodeExit, type VcpuExit } from "./exit.js";
import { Struct } from "./struct.js";
import type { Vm } from "./vm.js";

const EINTR = 4;
const EAGAIN = 11;

/**
 * One virtual CPU: its descriptor and its run mapping (`struct kvm_run`, KVM API section 5). State is read and set with
 * the functions of `x86/state`. A vCPU belongs to one thread while it runs; other threads may only kick it.
 */
export class Vcpu {
  readonly vm: Vm;
  /** The id given at its making: the APIC id. */
  readonly id: number;
  readonly fd: Fd;
  /** Host address and size in bytes of the run mapping. */
  readonly runHva: bigint;
  readonly runSize: number;
  readonly #run: Uint8Array;
  #closed = false;

  private constructor(vm: Vm, id: number, fd: Fd) {
    this.vm = vm;
    this.id = id;
    this.fd = fd;
    this.runSize = vm.kvm.vcpuMmapSize;
    this.runHva = mmap({ length: this.runSize, prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED, fd });
    this.#run = new Uint8Array(view(this.runHva, this.runSize));
  }

  /** Maps the run structure of a new vCPU. Users call {@link Vm.createVcpu}. */
  static create(vm: Vm, id: number, fd: Fd): Vcpu {
    return new Vcpu(vm, id, fd);
  }

  /**
   * Runs guest code in the calling thread until it exits to user space; blocks. Answer `io-in` and `mmio-read` exits
   * by filling their `data`, then run again. A kick from another thread gives `interrupted`.
   */
  run(): VcpuExit {
    const result = tryIoctl(this.fd.raw, KVM_RUN, 0);
    if (result === -EINTR || result === -EAGAIN) return { reason: "interrupted" };
    if (result < 0) ioctl(this.fd, KVM_RUN, 0, "KVM_RUN");
    return decodeExit(this.#run);
  }

  /** Makes the next or the present `KVM_RUN` return at once; the present one also needs a signal to its thread. */
  setImmediateExit(on: boolean): void {
    this.#run[kvm_run.immediate_exit] = on ? 1 : 0;
  }

  /** Finishes the last exit's effects on registers and memory without running the guest on (KVM API section 5, `immediate_exit`). */
  completeExit(): VcpuExit {
    this.setImmediateExit(true);
    try {
      return this.run();
    } finally {
      this.setImmediateExit(false);
    }
  }

  /** Injects a non-maskable interrupt (KVM API 4.64). */
  nmi(): void {
    ioctl(this.fd, KVM_NMI, 0, "KVM_NMI");
  }

  /** Queues an external interrupt; without an in-kernel LAPIC only (KVM API 4.16). */
  interrupt(vector: number): void {
    ioctl(this.fd, KVM_INTERRUPT, new Struct(4).setU32(0, vector).bytes, "KVM_INTERRUPT");
  }

  /** Debug exits as the `KVM_GUESTDBG_*` bits of `control` say; 0 turns them off (KVM API 4.87). */
  setGuestDebug(control: number): void {
    const debug = new Struct(kvm_guest_debug.size).setU32(kvm_guest_debug.control, control);
    ioctl(this.fd, KVM_SET_GUEST_DEBUG, debug.bytes, "KVM_SET_GUEST_DEBUG");
  }

  /** The guest physical address behind a guest virtual one; null where it is not mapped (KVM API 4.15). */
  translate(gva: bigint): bigint | null {
    const translation = new Struct(kvm_translation.size).setU64(kvm_translation.linear_address, gva);
    ioctl(this.fd, KVM_TRANSLATE, translation.bytes, "KVM_TRANSLATE");
    return translation.u8(kvm_translation.valid) === 0 ? null : translation.u64(kvm_translation.physical_address);
  }

  /** Tells the guest that it was paused, so that its soft-lockup watchdog stays quiet; false without kvmclock (KVM API 4.57). */
  notifyPaused(): boolean {
    return tryIoctl(this.fd.raw, KVM_KVMCLOCK_CTRL, 0) === 0;
  }

  /** @internal The host address of bytes that an attribute points to. */
  addressOf(bytes: Uint8Array): bigint {
    return addressOf(bytes);
  }

  /** Unmaps and closes. The vCPU must not be running. May be called again. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    munmap(this.runHva, this.runSize);
    this.fd.close();
  }
}
