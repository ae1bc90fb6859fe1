import { createRequire } from "node:module";

const manifest = createRequire(import.meta.url)("@baton/reference-vmm/package.json") as { readonly version: string };

/**
 * The version as clients of QEMU expect it. The numbers say which QMP vocabulary is spoken, QEMU 5.0's, as StratoVirt
 * has it; `package` says whose version it really is.
 */
export const version = {
  qemu: { micro: 1, minor: 0, major: 5 },
  package: `baton-${manifest.version}`,
} as const;
