import { BatonError, type Fd, ioctl, O_RDWR, open } from "@baton/linux";
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_MSR_FEATURE_INDEX_LIST,
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_msr_list,
} from "./abi/kvm.js";
import { type CapabilityName, capabilityNumber, requiredCapabilities } from "./capability.js";
import { Struct } from "./struct.js";
import { Vm } from "./vm.js";
import { type CpuidEntry, decodeCpuid } from "./x86/cpuid.js";

/** The only version of the KVM API there has been since Linux 2.6.22 (KVM API section 4.1). */
const API_VERSION = 12;
const MAX_CPUID_ENTRIES = 256;
const MAX_MSRS = 1024;

/**
 * The KVM subsystem of the host: an open `/dev/kvm`.
 *
 * Errors: `KVM_NOT_AVAILABLE` (no such device, no module), `KVM_PERMISSION_DENIED`, `KVM_API_VERSION`,
 * `KVM_CAPABILITY_MISSING` (names every missing capability); each carries a `hint`.
 */
export class Kvm {
  readonly fd: Fd;
  #vcpuMmapSize: number | undefined;
  #msrIndices: readonly number[] | undefined;
  #supportedCpuid: readonly CpuidEntry[] | undefined;

  private constructor(fd: Fd) {
    this.fd = fd;
  }

  /** Opens KVM and checks that the host offers what a VM needs. `path` is `/dev/kvm` unless said otherwise. */
  static open(path = "/dev/kvm"): Kvm {
    const kvm = new Kvm(openDevice(path));
    try {
      const version = apiVersion(kvm.fd, path);
      if (version !== API_VERSION) {
        throw new BatonError("KVM_API_VERSION", `${path} speaks KVM API version ${version}, not ${API_VERSION}`);
      }
      const missing = requiredCapabilities.filter((name) => kvm.capability(name) <= 0);
      if (missing.length > 0) {
        throw new BatonError("KVM_CAPABILITY_MISSING", `KVM on this host lacks ${missing.join(", ")}`, {
          hint: "A Linux kernel of 5.10 or later with kvm_intel or kvm_amd has them all",
          details: { missing },
        });
      }
      return kvm;
    } catch (error) {
      kvm.close();
      throw error;
    }
  }

  /** What `KVM_CHECK_EXTENSION` answers for a capability: 0 or less where it is missing (KVM API 4.4). */
  capability(name: CapabilityName): number {
    return ioctl(this.fd, KVM_CHECK_EXTENSION, capabilityNumber[name], `KVM_CHECK_EXTENSION ${name}`);
  }

  /** The size in bytes of a vCPU's run mapping (KVM API 4.5). */
  get vcpuMmapSize(): number {
    this.#vcpuMmapSize ??= ioctl(this.fd, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
    return this.#vcpuMmapSize;
  }

  /** The CPUID leaves that the host and KVM can give a guest (KVM API 4.46). */
  supportedCpuid(): readonly CpuidEntry[] {
    if (this.#supportedCpuid === undefined) {
      const buffer = new Struct(kvm_cpuid2.size + MAX_CPUID_ENTRIES * kvm_cpuid_entry2.size);
      buffer.setU32(kvm_cpuid2.nent, MAX_CPUID_ENTRIES);
      ioctl(this.fd, KVM_GET_SUPPORTED_CPUID, buffer.bytes, "KVM_GET_SUPPORTED_CPUID");
      this.#supportedCpuid = decodeCpuid(buffer);
    }
    return this.#supportedCpuid;
  }

  /** The MSRs that hold guest state and can be read and set (KVM API 4.3). */
  msrIndices(): readonly number[] {
    this.#msrIndices ??= this.#indexList(KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST");
    return this.#msrIndices;
  }

  /** The MSRs that describe what the host offers (KVM API 4.3). */
  featureMsrIndices(): readonly number[] {
    return this.#indexList(KVM_GET_MSR_FEATURE_INDEX_LIST, "KVM_GET_MSR_FEATURE_INDEX_LIST");
  }

  #indexList(request: number, what: string): readonly number[] {
    const buffer = new Struct(kvm_msr_list.indices + MAX_MSRS * 4);
    buffer.setU32(kvm_msr_list.nmsrs, MAX_MSRS);
    ioctl(this.fd, request, buffer.bytes, what);
    return Array.from({ length: buffer.u32(kvm_msr_list.nmsrs) }, (_, i) => buffer.u32(kvm_msr_list.indices + i * 4));
  }

  /** Makes a VM without memory, vCPUs or interrupt controllers (KVM API 4.2). */
  createVm(): Vm {
    return Vm.create(this, ioctl(this.fd, KVM_CREATE_VM, 0, "KVM_CREATE_VM"));
  }

  /** Closes `/dev/kvm`; VMs made from it live on. May be called again. */
  close(): void {
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function apiVersion(fd: Fd, path: string): number {
  try {
    return ioctl(fd, KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION");
  } catch (error) {
    throw new BatonError("KVM_NOT_AVAILABLE", `${path} is not KVM`, { cause: error });
  }
}

function openDevice(path: string): Fd {
  try {
    return open(path, O_RDWR);
  } catch (error) {
    if (!BatonError.is(error)) throw error;
    if (error.errnoName === "EACCES" || error.errnoName === "EPERM") {
      throw new BatonError("KVM_PERMISSION_DENIED", `Cannot open ${path}: permission denied`, {
        cause: error,
        hint: "Run as root, or add your user to the group that owns the device: usermod -aG kvm $USER, then log in again",
      });
    }
    throw new BatonError("KVM_NOT_AVAILABLE", `Cannot open ${path}: ${error.errnoName ?? error.message}`, {
      cause: error,
      hint: "Load kvm_intel or kvm_amd (modprobe), enable virtualisation in the firmware, or nested virtualisation on the outer host",
    });
  }
}
