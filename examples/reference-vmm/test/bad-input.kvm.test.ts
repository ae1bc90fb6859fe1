import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guestImage, guestPath } from "@baton/guests";
import { liveFds } from "@baton/linux";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { createVm, serial, type VmConfig } from "../src/index.js";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "baton-bad-input-"));
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

const file = (name: string, bytes: Uint8Array | string): string => {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  return path;
};

function elf(change: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(guestImage("hello"));
  change(bytes);
  return bytes;
}

const hello = guestPath("hello");
const vm = (
  config: Partial<Omit<VmConfig, "boot" | "memory">> & {
    boot?: Partial<VmConfig["boot"]>;
    memory?: Partial<VmConfig["memory"]>;
  },
): VmConfig => ({
  ...config,
  memory: { sizeMiB: 32, ...config.memory },
  boot: { kernel: hello, ...config.boot },
});

const cases: readonly (readonly [what: string, code: string, message: RegExp, config: () => VmConfig])[] = [
  ["a kernel that is missing", "KERNEL_NOT_READABLE", /nowhere.*ENOENT/, () => vm({ boot: { kernel: "/nowhere" } })],
  [
    "a kernel that is no kernel",
    "KERNEL_FORMAT",
    /neither a Linux bzImage nor an ELF/,
    () => vm({ boot: { kernel: file("text", "hello") } }),
  ],
  ["an empty kernel", "KERNEL_FORMAT", /empty/, () => vm({ boot: { kernel: file("empty", "") } })],
  [
    "a truncated ELF kernel",
    "KERNEL_TRUNCATED",
    /truncated: segment/,
    () => {
      const path = file("truncated", guestImage("hello"));
      truncateSync(path, 400);
      return vm({ boot: { kernel: path } });
    },
  ],
  [
    "a kernel for another architecture",
    "KERNEL_ARCHITECTURE",
    /machine 183/,
    () => vm({ boot: { kernel: elf((b) => b.writeUInt16LE(183, 18)) } }),
  ],
  ["a kernel that is larger than RAM", "KERNEL_TOO_LARGE", /the guest has 1 MiB/, () => vm({ memory: { sizeMiB: 1 } })],
  ["an initrd that is missing", "INITRD_NOT_READABLE", /ENOENT/, () => vm({ boot: { initrd: "/nowhere" } })],
  [
    "an initrd that does not fit",
    "INITRD_TOO_LARGE",
    /does not fit/,
    () => vm({ boot: { initrd: new Uint8Array(40 << 20) } }),
  ],
  [
    "a command line that is too long",
    "CMDLINE_TOO_LONG",
    /3000 bytes/,
    () => vm({ boot: { cmdline: "x".repeat(3000) } }),
  ],
  ["a command line with a NUL", "CMDLINE_INVALID", /NUL/, () => vm({ boot: { cmdline: "a\0b" } })],
  ["no memory", "MEMORY_SIZE", /0 MiB/, () => vm({ memory: { sizeMiB: 0 } })],
  ["absurd memory", "MEMORY_SIZE", /1e\+?9|1000000000/, () => vm({ memory: { sizeMiB: 1e9 } })],
  ["a fraction of memory", "MEMORY_SIZE", /1\.5 MiB/, () => vm({ memory: { sizeMiB: 1.5 } })],
  ["no vCPU", "VCPU_COUNT", /0 of 0/, () => vm({ vcpus: 0 })],
  ["absurdly many vCPUs", "VCPU_COUNT", /1000/, () => vm({ vcpus: 1000 })],
  ["more vCPUs than places", "VCPU_COUNT", /maxcpus \(2\)/, () => vm({ vcpus: 4, maxVcpus: 2 })],
  [
    "a topology that does not add up",
    "CPU_TOPOLOGY",
    /6 places.*4/,
    () => vm({ vcpus: 4, topology: { sockets: 3, dies: 1, cores: 2, threads: 1 } }),
  ],
  ["an unknown CPU feature", "CPU_FEATURE_UNKNOWN", /flux/, () => vm({ cpuFeatures: new Map([["flux", true]]) })],
  [
    "a memory file that is too short",
    "MEMORY_BACKEND_TOO_SHORT",
    /ram0/,
    () =>
      vm({ memory: { id: "ram0", backend: { kind: "file", path: file("short", "x"), share: true, create: false } } }),
  ],
  [
    "a console file that cannot be made",
    "CHARDEV_OPEN",
    /nowhere/,
    () => vm({ devices: [serial({ backend: { kind: "file", path: "/nowhere/x" } })] }),
  ],
  [
    "a console socket that cannot be made",
    "SOCKET_PATH",
    /nowhere/,
    () => vm({ devices: [serial({ backend: { kind: "unix", path: "/nowhere/x" } })] }),
  ],
  ["two serial ports", "DEVICE_LIMIT", /one serial port/, () => vm({ devices: [serial(), serial()] })],
];

describeKvm("bad input to createVm", () => {
  it.each(cases)("refuses %s with %s, and leaves nothing behind", async (_, code, message, config) => {
    const before = liveFds().length;
    await expect(createVm(config())).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(liveFds().length).toBe(before);
  });
});
