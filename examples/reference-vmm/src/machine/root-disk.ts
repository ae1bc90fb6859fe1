import { type DevicePlace, slotKind } from "./device-places.js";

/**
 * The id of the disk that a Linux guest mounts as its root: the one that `root=/dev/vdX` of its command line names, the
 * first where `root=` says it in another way. Undefined without `root=`, or where no disk is there at the start.
 */
export function rootDisk(cmdline: string, places: readonly DevicePlace[]): string | undefined {
  const root = [...cmdline.matchAll(/(?:^|\s)root=(\S+)/g)].at(-1)?.[1];
  if (root === undefined) return undefined;
  const letter = /^\/dev\/vd([a-z])\d*$/.exec(root)?.[1];
  const disks = places.filter(({ description }) => slotKind(description) === "disk");
  const disk = disks[letter === undefined ? 0 : letter.charCodeAt(0) - "a".charCodeAt(0)]?.description;
  return disk === undefined || disk.empty ? undefined : disk.id;
}
