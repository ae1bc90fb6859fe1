import { ioctl } from "@baton/linux";
import {
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQCHIP_PIC_SLAVE,
  KVM_SET_GSI_ROUTING,
  KVM_SIGNAL_MSI,
  kvm_irq_routing,
  kvm_irq_routing_entry,
  kvm_msi,
} from "../abi/kvm.js";
import { Struct } from "../struct.js";
import type { Vm } from "../vm.js";

/** A message-signalled interrupt as a PCI function or an IOAPIC sends it. */
export interface Msi {
  readonly address: bigint;
  readonly data: number;
}

const IOAPIC_PINS = 24;

/**
 * The table that says what each global system interrupt (GSI) does (KVM API 4.52). GSIs 0 to 23 go to the in-kernel
 * IOAPIC, 0 to 15 also to the PICs; those above are given to message-signalled interrupts.
 */
export class GsiRouting {
  readonly #vm: Vm;
  readonly #chips: boolean;
  readonly #messages = new Map<number, Msi>();

  constructor(vm: Vm, options: { readonly inKernelChips: boolean } = { inKernelChips: true }) {
    this.#vm = vm;
    this.#chips = options.inKernelChips;
  }

  /** Takes a free GSI for a message; {@link commit} makes it known to KVM. */
  allocate(msi: Msi): number {
    let gsi = this.#chips ? IOAPIC_PINS : 0;
    while (this.#messages.has(gsi)) gsi++;
    this.#messages.set(gsi, msi);
    return gsi;
  }

  /** Changes the message of a GSI that was allocated here. */
  update(gsi: number, msi: Msi): void {
    this.#messages.set(gsi, msi);
  }

  /** Gives a GSI back. */
  release(gsi: number): void {
    this.#messages.delete(gsi);
  }

  /** Hands the whole table to KVM, replacing the former one. */
  commit(): void {
    const entries: Struct[] = [];
    if (this.#chips) {
      for (let gsi = 0; gsi < 16; gsi++) {
        entries.push(chipEntry(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8));
      }
      for (let gsi = 0; gsi < IOAPIC_PINS; gsi++) entries.push(chipEntry(gsi, KVM_IRQCHIP_IOAPIC, gsi === 0 ? 2 : gsi));
    }
    for (const [gsi, msi] of this.#messages) {
      entries.push(
        entry(gsi, KVM_IRQ_ROUTING_MSI)
          .setU32(kvm_irq_routing_entry.u, Number(msi.address & 0xffffffffn))
          .setU32(kvm_irq_routing_entry.u + 4, Number(msi.address >> 32n))
          .setU32(kvm_irq_routing_entry.u + 8, msi.data),
      );
    }
    const table = new Struct(kvm_irq_routing.size + entries.length * kvm_irq_routing_entry.size);
    table.setU32(kvm_irq_routing.nr, entries.length);
    entries.forEach((e, i) => {
      table.bytes.set(e.bytes, kvm_irq_routing.entries + i * kvm_irq_routing_entry.size);
    });
    ioctl(this.#vm.fd, KVM_SET_GSI_ROUTING, table.bytes, "KVM_SET_GSI_ROUTING");
  }
}

function entry(gsi: number, type: number): Struct {
  return new Struct(kvm_irq_routing_entry.size)
    .setU32(kvm_irq_routing_entry.gsi, gsi)
    .setU32(kvm_irq_routing_entry.type, type);
}

function chipEntry(gsi: number, chip: number, pin: number): Struct {
  return entry(gsi, KVM_IRQ_ROUTING_IRQCHIP)
    .setU32(kvm_irq_routing_entry.u, chip)
    .setU32(kvm_irq_routing_entry.u + 4, pin);
}

/** Sends a message-signalled interrupt at once; returns whether the guest took it (KVM API 4.70). */
export function signalMsi(vm: Vm, msi: Msi): boolean {
  const message = new Struct(kvm_msi.size)
    .setU32(kvm_msi.address_lo, Number(msi.address & 0xffffffffn))
    .setU32(kvm_msi.address_hi, Number(msi.address >> 32n))
    .setU32(kvm_msi.data, msi.data);
  return ioctl(vm.fd, KVM_SIGNAL_MSI, message.bytes, "KVM_SIGNAL_MSI") > 0;
}
