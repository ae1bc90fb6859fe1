// QEMU 7.2 is a model of the devices that nobody here wrote. What it cannot show, and only Baton's own devices do: sockets
// (QEMU has them from the kernel, by /dev/vhost-vsock), buffers used in order (QEMU offers that from version 9.1 on), and
// a broken packed ring (after one, QEMU 7.2 spins for ever). Its entropy device needs a quota: it fills any buffer at once.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  type BlkbenchOptions,
  blkbenchCmdline,
  blkbenchModes,
  guestExit,
  NETBENCH_READY,
  type NetbenchOptions,
  netbenchCmdline,
  parseBlkbench,
  parseNetbench,
  parseVirthostile,
  parseVirtioAgreements,
  parseVirtloadCounters,
  parseVirtloadFindings,
  parseVirtloadSummary,
  VIRTLOAD_STOP,
  virthostileCmdline,
  virtioMmioWords,
  virtloadCmdline,
} from "../src/index.js";
import { openCountingLines } from "./support/counting-lines.js";
import { cableEnd, freePort, openFrameEcho } from "./support/frame-echo.js";
import { qemuKvmAbsence, startGuest } from "./support/qemu.js";
import { openQmp } from "./support/qmp.js";

const absence = qemuKvmAbsence();
const rings = ["split", "packed"] as const;

(absence === "" ? describe : describe.skip)(`the guests' virtio drivers under QEMU with KVM${absence}`, () => {
  let directory = "";
  let disk: string[] = [];

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "baton-guests-"));
    const path = join(directory, "disk.raw");
    writeFileSync(path, "");
    truncateSync(path, 8 << 20);
    disk = ["-drive", `id=disk,if=none,file=${path},format=raw,cache=unsafe`];
  });

  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const blk = (more: string) => [...disk, "-device", `virtio-blk-device,drive=disk${more}`];
  const rng = (more: string) => ["-device", `virtio-rng-device,max-bytes=65536,period=1${more}`];

  async function bench(options: BlkbenchOptions): Promise<{ output: string; exit: number }> {
    const guest = startGuest("blkbench", blkbenchCmdline(options), blk(",packed=on"));
    return { exit: await guest.ended, output: guest.output };
  }

  describe.each(rings)("on a %s ring", (ring) => {
    test.each(blkbenchModes)("blkbench completes all requests: %s", async (mode) => {
      const { output, exit } = await bench({ ring, mode, depth: 16, ops: 400, warmup: 20 });
      const result = parseBlkbench(output)!;
      expect(result).toMatchObject({
        mode,
        depth: 16,
        block: 4096,
        ops: 400,
        bytes: 400 * 4096,
        errors: 0,
        interrupts: 0,
      });
      expect(result.notifications).toBeGreaterThan(0);
      expect(result.tsc).toBe(Number(result.endTsc - result.beginTsc));
      expect(exit).toBe(guestExit.EXIT_OK);
    });

    test.each([
      { irq: 1 },
      { irq: 1, event: 0 },
      { irq: 1, indirect: 0, parts: 8 },
      { irq: 0, indirect: 0, event: 0, parts: 4, queue: 64 },
    ] as const)("blkbench agrees on what was asked for: %j", async (options) => {
      const { output, exit } = await bench({ ring, depth: 8, ops: 200, ...options });
      const [agreement] = parseVirtioAgreements(output);
      expect(agreement).toMatchObject({ name: "blk", ring, inorder: false });
      expect(agreement!.event).toBe(!("event" in options));
      expect(agreement!.indirect).toBe(!("indirect" in options));
      expect(parseBlkbench(output)).toMatchObject({ ops: 200, errors: 0 });
      expect(parseBlkbench(output)!.interrupts > 0).toBe(options.irq === 1);
      expect(exit).toBe(guestExit.EXIT_OK);
    });

    // A software KVM can lose the end of a level-triggered interrupt, about one in a million.
    test("blkbench takes level-triggered interrupts, under emulation", async () => {
      const cmdline = blkbenchCmdline({ ring, depth: 8, ops: 1000, irq: 1, trigger: "level" });
      const guest = startGuest("blkbench", cmdline, blk(",packed=on"), "tcg");
      expect(await guest.ended).toBe(guestExit.EXIT_OK);
      expect(parseBlkbench(guest.output)!.interrupts).toBeGreaterThan(0);
    });

    async function pair(passive: NetbenchOptions, active: NetbenchOptions) {
      const [one, other] = [await freePort(), await freePort()];
      const devices = (local: number, remote: number) => [
        ...["-netdev", cableEnd("net", local, remote)],
        ...["-device", "virtio-net-device,netdev=net,packed=on"],
      ];
      const first = startGuest("netbench", netbenchCmdline({ ring, ...passive }), devices(one, other));
      await first.printed(NETBENCH_READY);
      const second = startGuest("netbench", netbenchCmdline({ ring, ...active }), devices(other, one));
      expect([await second.ended, await first.ended]).toEqual([guestExit.EXIT_OK, guestExit.EXIT_OK]);
      return [parseNetbench(first.output)!, parseNetbench(second.output)!] as const;
    }

    test("netbench plays ping-pong with its echo", async () => {
      const [echo, pingpong] = await pair(
        { role: "echo", irq: 1 },
        { role: "pingpong", packets: 300, size: 600, irq: 1 },
      );
      expect(pingpong).toMatchObject({ packets: 300, bytes: 300 * 600, errors: 0 });
      expect(pingpong.shortest).toBeGreaterThan(0);
      expect(pingpong.longest).toBeGreaterThanOrEqual(pingpong.shortest);
      expect(echo).toMatchObject({ packets: 300, bytes: 300 * 600, lost: 0, disorder: 0, errors: 0 });
    });

    test("netbench counts on the other side what it sent", async () => {
      const [rx, tx] = await pair({ role: "rx" }, { role: "tx", packets: 400, size: 1500, depth: 4 });
      expect(tx).toMatchObject({ packets: 400, bytes: 400 * 1500, errors: 0 });
      // Datagrams may be lost where the receiver is slower.
      expect(rx.packets + rx.lost).toBeLessThanOrEqual(400);
      expect(rx.packets).toBeGreaterThan(0);
      expect(rx).toMatchObject({ bytes: rx.packets * 1500, disorder: 0, errors: 0 });
    });

    test("virtload drives all devices at once", async () => {
      using echo = await openFrameEcho();
      const [console, port, monitor] = ["console", "port", "qmp"].map((name) => join(directory, `${name}-${ring}`));
      const socket = (id: string, path: string) => ["-chardev", `socket,id=${id},path=${path},server=on,wait=off`];
      const devices = [
        ...blk(",packed=on"),
        ...rng(",packed=on"),
        ...["-netdev", echo.netdev, "-device", "virtio-net-device,netdev=net,packed=on"],
        ...[...socket("c0", console!), ...socket("c1", port!), "-device", "virtio-serial-device,packed=on"],
        ...["-device", "virtconsole,chardev=c0", "-device", "virtserialport,chardev=c1,name=port"],
        ...["-device", "virtio-balloon-device,id=balloon,free-page-reporting=on,packed=on"],
        ...["-qmp", `unix:${monitor},server=on,wait=off`],
      ];
      const guest = startGuest("virtload", virtloadCmdline({ ring, print: 1_000_000_000 }), devices);
      using first = openCountingLines(console!);
      using second = openCountingLines(port!);
      await guest.printed("virtload\n");
      using qmp = await openQmp(monitor!);
      const actual = async () => ((await qmp.execute("query-balloon")) as { actual: number }).actual;
      const path = { path: "/machine/peripheral/balloon" };
      await qmp.execute("qom-set", { ...path, property: "guest-stats-polling-interval", value: 1 });
      for (const mebibytes of [61, 63]) {
        await qmp.execute("balloon", { value: mebibytes << 20 });
        await guest.becomes(async () => (await actual()) === mebibytes << 20);
      }
      const least = (names: string[]) => {
        const counters = parseVirtloadCounters(guest.output).at(-1);
        return Math.min(...names.map((name) => counters?.[name] ?? 0));
      };
      await guest.becomes(
        () => least(["blk", "rng", "net", "con"]) >= 300 && Math.min(first.lines, second.lines) >= 300,
      );
      // The statistics come once a second.
      await sleep(1000);
      const statistics = (await qmp.execute("qom-get", { ...path, property: "guest-stats" })) as {
        stats: Record<string, number>;
      };
      expect(statistics.stats["stat-total-memory"]).toBe(64 << 20);
      guest.input.write(VIRTLOAD_STOP);
      expect(await guest.ended).toBe(guestExit.EXIT_OK);
      expect(parseVirtloadFindings(guest.output)).toEqual([]);
      const summary = parseVirtloadSummary(guest.output)!;
      expect(summary).toMatchObject({ resets: 0, stalls: 0 });
      expect(summary.counters).toMatchObject({ net_late: 0 });
      expect(summary.counters.net).toBeLessThanOrEqual(echo.frames);
      expect(first.wrong.concat(second.wrong)).toEqual([]);
      expect(parseVirtioAgreements(guest.output).map((agreement) => agreement.ring)).toEqual(Array(5).fill(ring));
    });
  });

  test("places without a device are passed over", async () => {
    const empty = virtioMmioWords([{ base: 0xfeb0_0000, line: 5 }]);
    const guest = startGuest("blkbench", `${empty} virtio_mmio.device=1K@0xfeb00200:6 ops=50`, blk(""));
    expect(await guest.ended).toBe(guestExit.EXIT_OK);
    expect(parseBlkbench(guest.output)).toMatchObject({ ops: 50, errors: 0 });
  });

  test("virtload says that a device stalls", async () => {
    const dead = await freePort();
    const net = ["-netdev", cableEnd("net", await freePort(), dead), "-device", "virtio-net-device,netdev=net"];
    const guest = startGuest("virtload", virtloadCmdline({ stall: 1_000_000_000 }), [...net, ...rng("")]);
    await guest.printed("STALL net");
    guest.input.write(VIRTLOAD_STOP);
    expect(await guest.ended).toBe(guestExit.EXIT_BAD);
    expect(parseVirtloadFindings(guest.output).every(({ kind, text }) => kind === "STALL" && /^net /.test(text))).toBe(
      true,
    );
  });

  test("virtload resets a device that needs it, and goes on", async () => {
    const guest = startGuest("virtload", virtloadCmdline({ spoil: 2 }), [...blk(""), ...rng("")]);
    for (const name of ["blk", "rng"]) await guest.printed(`RESET ${name}`);
    await sleep(300);
    guest.input.write(VIRTLOAD_STOP);
    expect(await guest.ended).toBe(guestExit.EXIT_OK);
    expect(parseVirtloadSummary(guest.output)!.stalls).toBe(0);
    expect(parseVirtloadSummary(guest.output)!.resets).toBeGreaterThanOrEqual(2);
  });

  test.each([1, 2, 3])("virthostile comes to its end, and so does QEMU: seed %i", async (seed) => {
    // Each event descriptor that comes and goes costs milliseconds.
    const slow = ["-global", "virtio-mmio.ioeventfd=off"];
    const cmdline = virthostileCmdline({ seed, steps: 2000 });
    const guest = startGuest("virthostile", cmdline, [...slow, ...blk(""), ...rng("")]);
    expect(await guest.ended).toBe(guestExit.EXIT_OK);
    const summary = parseVirthostile(guest.output)!;
    expect(summary).toMatchObject({ steps: 2000, alive: ["blk", "rng"], dead: [] });
    expect(summary.needsReset).toBeGreaterThan(0);
  });

  test("parameters that cannot be used are refused", async () => {
    const refused = [
      startGuest("blkbench", "mode=sideways", []),
      startGuest("blkbench", "", []),
      startGuest("netbench", "size=63", []),
      startGuest("virtload", "ring=round", []),
      startGuest("virthostile", "device=7", []),
    ];
    expect(await Promise.all(refused.map((guest) => guest.ended))).toEqual(Array(5).fill(guestExit.EXIT_ARGUMENT));
  });
});
