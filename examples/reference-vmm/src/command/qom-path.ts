/** The path of a vCPU in the device tree. */
export function vcpuPath(index: number): string {
  return `/machine/unattached/device[${index}]`;
}

/** The path of a device in the device tree. */
export function devicePath(id: string): string {
  return `/machine/peripheral/${id}`;
}
