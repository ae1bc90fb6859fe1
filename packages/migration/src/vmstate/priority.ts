/**
 * The order in which states are saved and loaded: higher ones first, equal ones in the order of their registration.
 * QEMU: `MigrationPriority`.
 */
export const PRIORITY = {
  low: 1,
  default: 2,
  iommu: 3,
  pciBus: 4,
  virtioMem: 5,
  apic: 6,
  gicv3Its: 7,
  gicv3: 8,
} as const;

export const DEFAULT_PRIORITY: number = PRIORITY.default;
