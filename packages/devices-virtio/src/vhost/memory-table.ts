import type { GuestMemory } from "@baton/memory";
import { vhost_memory, vhost_memory_region } from "../abi/vhost.js";

/** Where guest RAM stands in this process now: `struct vhost_memory`. */
export function memoryTable(memory: GuestMemory): Uint8Array {
  const { regions } = memory.describe();
  const bytes = new Uint8Array(vhost_memory.size + regions.length * vhost_memory_region.size);
  const data = new DataView(bytes.buffer);
  data.setUint32(vhost_memory.nregions, regions.length, true);
  regions.forEach(({ gpa, size, hva }, i) => {
    const at = vhost_memory.regions + i * vhost_memory_region.size;
    data.setBigUint64(at + vhost_memory_region.guest_phys_addr, gpa, true);
    data.setBigUint64(at + vhost_memory_region.memory_size, size, true);
    data.setBigUint64(at + vhost_memory_region.userspace_addr, hva, true);
  });
  return bytes;
}
