import { spawn } from "node:child_process";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { ensureLinuxGuest, ensureQemu, type LinuxGuest, linuxGuestCmdline, type Qemu } from "../src/index.js";

let guest: LinuxGuest;
let qemu: Qemu;

/** What a boot may be told: the kernel, how many CPUs, and what ends it once all of it has been seen. */
interface BootOptions {
  readonly kernel?: string;
  readonly cpus?: number;
  readonly until?: readonly RegExp[];
}

/** Boots the Linux guest under emulation on this machine, until it ends or has printed all of `until`; its lines. */
async function boot(words: string, options: BootOptions = {}): Promise<string[]> {
  const { kernel = guest.vmlinux, cpus = 1, until = [] } = options;
  const machine = ["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", String(cpus), "-no-reboot"];
  const quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"];
  const images = ["-kernel", kernel, "-initrd", guest.initrd, "-append", `${linuxGuestCmdline} ${words}`];
  const child = spawn(qemu.program, [...qemu.leadingArgs, ...machine, ...quiet, ...images], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 50_000,
  });
  let output = "";
  for await (const chunk of child.stdout) {
    output += String(chunk);
    if (until.length > 0 && until.every((pattern) => pattern.test(output))) child.kill();
  }
  return output.replaceAll("\r", "").split("\n");
}

describe("the Linux guest", () => {
  beforeAll(async () => {
    const log = (line: string): void => void process.stderr.write(`# ${line}\n`);
    [guest, qemu] = [await ensureLinuxGuest({ log }), await ensureQemu({ log })];
  }, 600_000);

  test("loads its modules, reports that time advances, and powers off", async () => {
    const modules = "virtio_mmio,virtio_pci,virtio_blk,virtio_net,virtio_console,virtio_rng,virtio_balloon,vsock";
    const lines = await boot(`baton.modules=${modules} baton.count=4`);
    const reports = lines
      .map((line) => /^BATON cpus=1 memkb=\d+ time=(\d+) uptime=(\d+) n=\d+$/.exec(line))
      .filter(Boolean);
    expect(reports).toHaveLength(4);
    const times = reports.map((match) => BigInt(match![1]!));
    expect(times.every((time, index) => index === 0 || time > times[index - 1]!)).toBe(true);
    expect(lines.filter((line) => line.startsWith("BATON BAD"))).toEqual([]);
    expect(lines).toContain("BATON THEN poweroff");
  });

  test("runs a script of one's own, and a load on every CPU that checks itself", async () => {
    const own = await ensureLinuxGuest({ files: { script: "echo own $(uname -r)\nexit 7\n" } });
    guest = own;
    const ticks = [0, 1].map((cpu) => new RegExp(`^BATON TICK cpu=${cpu} n=3 uptime=\\d+ round=\\d+\\r?$`, "m"));
    const lines = await boot("baton.test=script baton.then=load", { cpus: 2, until: ticks });
    expect(lines).toEqual(expect.arrayContaining([`own ${own.version}`, "BATON SCRIPT rc=7"]));
    expect(lines.filter((line) => line.startsWith("BATON BAD"))).toEqual([]);
    for (const tick of ticks) expect(lines.join("\n")).toMatch(tick);
  });
});
