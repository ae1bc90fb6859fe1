import { BatonError, Fd, fstat, lseek, S_IFMT, S_IFREG, S_IFSOCK } from "@baton/linux";
import { formatMigrationAddress, type MigrationAddress } from "./address.js";
import { DescriptorChannel } from "./descriptor-channel.js";
import { owning } from "./file.js";
import { socketEnds } from "./socket-channel.js";

/**
 * A channel over a descriptor that is open and that the channel owns from now on, whatever comes of it. `find` gives the
 * number of one that has a name. Throws `CHANNEL_OPEN`.
 */
export function fdChannel(
  address: MigrationAddress & { kind: "fd" },
  find: (name: string) => number | undefined = () => undefined,
): DescriptorChannel {
  const name = formatMigrationAddress(address);
  const raw = /^\d+$/.test(address.name) ? Number(address.name) : find(address.name);
  if (raw === undefined || raw > 0x7fffffff) {
    throw new BatonError("CHANNEL_OPEN", `${name}: no descriptor of this name was handed over`);
  }
  let type: number;
  try {
    type = fstat(raw).mode & S_IFMT;
  } catch (error) {
    throw new BatonError("CHANNEL_OPEN", `${name}: no such descriptor is open`, { cause: error });
  }
  const fd = Fd.adopt(raw, name);
  return owning(fd, () => {
    if (type === S_IFSOCK) return new DescriptorChannel(fd, name, socketEnds(fd));
    if (type !== S_IFREG) return new DescriptorChannel(fd, name);
    const start = Number(lseek(fd, 0, "current"));
    return new DescriptorChannel(fd, name, { end: async (run) => void (await run({ op: "sync" })) }, start);
  });
}
