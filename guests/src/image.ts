import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The guests there are; `guests/README.md` has the contract of each. */
export const guestNames = [
  "hello",
  "ticker",
  "exits",
  "hostile",
  "blkbench",
  "netbench",
  "virtload",
  "virthostile",
] as const;

/** The name of a guest. */
export type GuestName = (typeof guestNames)[number];

/** The path of a guest's image: a PVH ELF of a few KiB, those in C of some tens, loaded at 1 MiB. */
export function guestPath(name: GuestName): string {
  const path = fileURLToPath(new URL(`../images/${name}.elf`, import.meta.url));
  if (!existsSync(path)) throw new Error(`no guest image ${path}; build it with: node guests/build.mjs`);
  return path;
}

/** The bytes of a guest's image. */
export function guestImage(name: GuestName): Buffer {
  return readFileSync(guestPath(name));
}
