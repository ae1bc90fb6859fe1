import * as abi from "./abi/kvm.js";

type AbiName = keyof typeof abi;
/** A KVM capability by its name in the kernel's header without the prefix `KVM_CAP_`. */
export type CapabilityName = AbiName extends infer N ? (N extends `KVM_CAP_${infer Rest}` ? Rest : never) : never;

/** The number of each capability, by name. */
export const capabilityNumber: Readonly<Record<CapabilityName, number>> = Object.freeze(
  Object.fromEntries(
    Object.entries(abi)
      .filter(([name]) => name.startsWith("KVM_CAP_"))
      .map(([name, value]) => [name.slice("KVM_CAP_".length), value as number]),
  ) as Record<CapabilityName, number>,
);

/** What every VM needs; a host without one of them is refused by name. */
export const requiredCapabilities: readonly CapabilityName[] = Object.freeze([
  "IRQCHIP",
  "USER_MEMORY",
  "SET_TSS_ADDR",
  "EXT_CPUID",
  "MP_STATE",
  "IRQ_ROUTING",
  "IRQFD",
  "IOEVENTFD",
  "PIT2",
  "PIT_STATE2",
  "VCPU_EVENTS",
  "DEBUGREGS",
  "XSAVE",
  "XCRS",
  "ADJUST_CLOCK",
  "IMMEDIATE_EXIT",
  "SIGNAL_MSI",
] as const);
