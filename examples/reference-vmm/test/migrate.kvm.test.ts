import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { guestPath, parseTickerSummary } from "@baton/guests";
import { afterAll, afterEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { baton, killPrograms, Scratch } from "./support/baton.js";
import { MigratingVm } from "./support/migrating-vm.js";
import { type PeerEnd, Peers } from "./support/peer.js";
import { seededRandom } from "./support/random.js";
import { until } from "./support/until.js";

const scratch = new Scratch();
const peers = new Peers();
afterEach(async () => {
  peers.close();
  await killPrograms();
});
afterAll(() => scratch.remove());

const MEMORY_MIB = 96;
const ticker = (words: string) => ["-m", String(MEMORY_MIB), "-kernel", guestPath("ticker"), "-append", words];
/** Runs on, and dirties pages; has more memory in use than the buffers of a socket hold. */
const BUSY = [
  ...ticker("rate=100 pages=512 dirty=16 print=4"),
  "-initrd",
  scratch.write("ballast", randomBytes(2 << 20)),
];

/** The numbers that the ticker has printed, of both processes. */
const printed = (output: string) => [...output.matchAll(/T([0-9a-f]+)/g)].map(([, text]) => Number.parseInt(text!, 16));

let count = 0;
const fresh = (name: string) => scratch.at(`${name}-${count++}`);

async function running(args = BUSY, name = "source"): Promise<MigratingVm> {
  const vm = await MigratingVm.start(scratch, `${name}-${count++}`, args);
  await vm.program.sees(/T[0-9a-f]+/);
  return vm;
}

const awaiting = (uri: string, args = BUSY, more: readonly string[] = []) =>
  MigratingVm.start(scratch, `target-${count++}`, [...args, "-incoming", uri, ...more]);

/** All of a paused guest's memory. */
async function memoryDigest(vm: MigratingVm): Promise<string> {
  const path = fresh("memory");
  await vm.call("pmemsave", { val: 0, size: MEMORY_MIB * 2 ** 20, filename: path });
  const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
  truncateSync(path);
  return digest;
}

/** The guest goes on where it stood: its ticks are whole. */
async function goesOn(vm: MigratingVm): Promise<void> {
  await vm.call("cont");
  const before = vm.output.length;
  await until(() => printed(vm.output.slice(before)).length > 1, "further ticks");
}

describeKvm("a guest that goes to another process", () => {
  it.each([
    { kind: "file", target: (uri: string) => uri },
    { kind: "unix", target: (uri: string) => uri },
    { kind: "tcp", target: (uri: string) => uri },
  ])("runs on there, through $kind, without a tick or a byte lost", async ({ kind }) => {
    const words = "ticks=600 rate=150 pages=256 dirty=8 print=4";
    const source = await running(ticker(words));
    const uri = kind === "tcp" ? "tcp:127.0.0.1:0" : `${kind}:${fresh("move")}`;
    const file = kind === "file";
    let target: MigratingVm | undefined;
    let to = `${uri}${file ? ",offset=0" : ""}`;
    if (!file) {
      target = await awaiting(uri, ticker(words), ["-S"]);
      expect(await target.runState()).toBe("inmigrate");
      if (kind === "tcp") {
        const [address] = (await target.call("query-migrate"))["socket-address"];
        to = `tcp:127.0.0.1:${address.port}`;
      }
    }
    const info = await source.migrate(to);
    expect(info).toMatchObject({ status: "completed", ram: { remaining: 0, total: MEMORY_MIB * 2 ** 20 } });
    expect(info.downtime).toBeGreaterThan(0);
    expect(await source.runState()).toBe("postmigrate");
    await expect(source.call("migrate", { uri: to })).rejects.toThrow("paused due to previous migration");

    target ??= await awaiting(uri, ticker(words), ["-S"]);
    expect(await target.migrated()).toEqual({ status: "completed" });
    expect(await target.runState()).toBe("paused");
    expect(await memoryDigest(target)).toBe(await memoryDigest(source));

    await target.call("cont");
    const summary = await until(() => parseTickerSummary(target.output), "the ticker's summary", 30_000);
    expect(summary).toMatchObject({ ticks: 600, bad: 0 });
    const ticks = printed(source.output + target.output);
    expect(ticks).toEqual([...ticks].sort((a, b) => a - b));
    expect(new Set(ticks).size).toBe(ticks.length);
    await source.quit();
  });

  it("runs at once if it ran before, and is paused if it was", async () => {
    const source = await running();
    const first = await awaiting(`unix:${fresh("running")}`);
    const [address] = (await first.call("query-migrate"))["socket-address"];
    await source.migrate(`unix:${address.path}`);
    await first.migrated();
    expect(await first.runState()).toBe("running");
    await until(() => printed(first.output).length > 1, "ticks");
    await first.call("stop");

    const file = fresh("paused");
    await first.migrate(`file:${file},offset=0`);
    const second = await awaiting(`file:${file}`);
    await second.migrated();
    expect(await second.runState()).toBe("paused");
    await goesOn(second);
  });

  it("goes through descriptors and programs, and to a file with its pages in their places", async () => {
    const source = await running();
    await source.call("stop");
    const digest = await memoryDigest(source);
    const file = fresh("exec");
    expect(await source.migrate(`exec:gzip > '${file}'`)).toMatchObject({ status: "completed" });
    const first = await awaiting(`exec:gunzip < '${file}'`);
    await first.migrated();
    expect(await memoryDigest(first)).toBe(digest);

    await first.call("migrate-set-capabilities", { capabilities: [{ capability: "mapped-ram", state: true }] });
    const mapped = fresh("mapped");
    expect(await first.migrate(`file:${mapped}`)).toMatchObject({ status: "completed" });
    expect(statSync(mapped).size).toBeGreaterThan(MEMORY_MIB * 2 ** 20);
    const second = await MigratingVm.start(scratch, `target-${count++}`, [...BUSY, "-incoming", "defer"]);
    await second.call("migrate-set-capabilities", { capabilities: [{ capability: "mapped-ram", state: true }] });
    await second.call("migrate-incoming", { uri: `file:${mapped}` });
    await second.migrated();
    expect(await memoryDigest(second)).toBe(digest);
    await goesOn(second);
  });

  it("leaves its disk to whoever goes on, and to one only", async () => {
    const disk = scratch.write("disk.img", new Uint8Array(1 << 20));
    const args = [...BUSY, "-drive", `file=${disk},format=raw,if=none,id=d`, "-device", "virtio-blk-device,drive=d"];
    const source = await running(args);
    const file = fresh("with-disk");
    await source.migrate(`file:${file},offset=0`);
    const target = await awaiting(`file:${file}`, args);
    await target.migrated();
    expect(await target.runState()).toBe("running");
    await expect(source.call("cont")).rejects.toThrow(/disk.img is in use by another virtual machine/);
    expect(await source.runState()).toBe("postmigrate");
    await target.quit();
    await goesOn(source);
  });

  it("tells of its events, in QEMU's order, to those who asked", async () => {
    const source = await running();
    await source.call("migrate-set-capabilities", { capabilities: [{ capability: "events", state: true }] });
    await source.migrate(`file:${fresh("events")},offset=0`);
    const events = source.qmp.lines.map((line) => JSON.parse(line)).filter(({ event }) => event);
    const told = events.map(({ event, data }) => (event === "MIGRATION" ? data.status : event));
    expect(told.filter((event) => event !== "RESUME")).toEqual([
      "setup",
      "STOP",
      "MIGRATION_PASS",
      "active",
      "device",
      "completed",
    ]);
  });
});

const peer = (bytes: number, then: PeerEnd) => peers.listen(fresh("peer"), bytes, then);

describeKvm("a guest whose move fails", () => {
  it("runs on when nobody listens, and when the peer dies at any moment", async () => {
    const source = await running();
    const attempts = [`unix:${fresh("nobody")}`, "tcp:127.0.0.1:1", (await peer(0, "close")).uri];
    for (const bytes of [1, 20_000, 300_000]) attempts.push((await peer(bytes, "close")).uri);
    for (const uri of attempts) {
      const info = await source.migrate(uri);
      expect(info.status).toBe("failed");
      expect(info["error-desc"]).toContain(uri.slice(0, 20));
      expect(await source.runState()).toBe("running");
      await goesOn(source);
    }
  });

  it("runs on when it is cancelled, however the peer hangs", async () => {
    const source = await running();
    for (const bytes of [1, 100_000]) {
      const { uri, reached } = await peer(bytes, "hang");
      await source.call("migrate", { uri });
      await reached;
      await expect(source.call("migrate", { uri })).rejects.toThrow("There's a migration process in progress");
      await source.call("migrate_cancel");
      expect(await source.call("query-migrate")).toEqual({ status: "cancelled" });
      expect(await source.runState()).toBe("running");
      await goesOn(source);
    }
  });

  it("stands when all of it was sent and the peer says nothing more: it may run there", async () => {
    const source = await running();
    const { uri, reached } = await peer(0x7fff_ffff, "drain");
    await source.call("migrate", { uri });
    await reached;
    await source.call("migrate_cancel");
    expect(await source.call("query-migrate")).toEqual({ status: "cancelled" });
    expect(await source.runState()).toBe("paused");
    await goesOn(source);
  });

  it("stays stopped if it was stopped, and `cont` lets it run", async () => {
    const source = await running();
    await source.call("stop");
    const { uri } = await peer(20_000, "close");
    expect((await source.migrate(uri)).status).toBe("failed");
    expect(await source.runState()).toBe("paused");
    await goesOn(source);
  });

  it("leaves nothing of a file that does not fit on the disk", async () => {
    const source = await running();
    const disk = fresh("small");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=512k", "none", disk]);
    try {
      const info = await source.migrate(`file:${disk}/vm,offset=0`);
      expect(info).toMatchObject({ status: "failed", "error-desc": expect.stringMatching(/No space left|full/i) });
      expect(existsSync(`${disk}/vm`)).toBe(false);
      await goesOn(source);
    } finally {
      execFileSync("umount", [disk]);
    }
    await expect(source.call("migrate", { uri: "file:/nowhere/at/all,offset=0" })).rejects.toThrow("/nowhere/at/all");
    await goesOn(source);
  });

  it("is refused by the other side where the machines differ, each difference named", async () => {
    const source = await running();
    const file = fresh("differs");
    await source.migrate(`file:${file},offset=0`);
    const refusals: [readonly string[], RegExp][] = [
      [[...BUSY, "-smp", "2"], /vcpus is 1, here 2/],
      [["-m", "64", ...BUSY.slice(2)], /pc\.ram/],
    ];
    for (const [args, reason] of refusals) {
      const target = baton([...args, "-incoming", `file:${file}`]);
      expect(await target.ended()).not.toBe(0);
      expect(target.stderr).toMatch(reason);
    }
    await goesOn(source);
  });

  it("is refused with a stream that is cut, flipped or foreign; the source is whole", async () => {
    const source = await running();
    const file = fresh("whole");
    await source.migrate(`file:${file},offset=0`);
    const whole = readFileSync(file);
    const random = seededRandom(20261122);
    const broken: [string, Uint8Array][] = [
      ["nothing", new Uint8Array()],
      ["foreign", Buffer.from("an image of something else")],
      ["zeroes", new Uint8Array(4096)],
    ];
    const flips = rounds({ quick: 4, full: 60 });
    for (let i = 0; i < flips; i++) {
      const flipped = Uint8Array.from(whole);
      const bit = Math.floor(random() * whole.length * 8);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      broken.push([`bit ${bit} flipped`, flipped]);
      broken.push([`cut at ${bit >> 3}`, whole.subarray(0, bit >> 3)]);
    }
    const path = fresh("broken");
    for (const [what, bytes] of broken) {
      writeFileSync(path, bytes);
      const target = baton([...BUSY, "-incoming", `file:${path}`]);
      expect([what, await target.ended()]).not.toEqual([what, 0]);
      expect(target.stderr).toContain(`-incoming file:${path}: `);
      expect(target.stdout).toBe("");
    }
    await goesOn(source);
  }, 600_000);

  it("says what is not built yet, and what is wrong, before anything happens", async () => {
    const source = await running();
    const refusals: [string, object, RegExp][] = [
      ["migrate", { uri: `file:${fresh("directory")}` }, /not built yet.*offset=0/],
      ["migrate", { uri: "rdma:host:1" }, /unknown migration protocol 'rdma'/],
      ["migrate", {}, /'uri' is missing/],
      ["migrate-incoming", { uri: "defer" }, /'-incoming' was not specified/],
      ["migrate-set-parameters", { mode: "cpr-reboot" }, /'cpr-reboot' is not built yet/],
      [
        "migrate-set-capabilities",
        { capabilities: [{ capability: "multifd", state: true }] },
        /'multifd' is not built yet/,
      ],
    ];
    for (const [command, args, reason] of refusals) {
      await expect(source.call(command, args)).rejects.toThrow(reason);
    }
    expect(await source.call("query-migrate")).toEqual({ status: "none" });
    await source.call("migrate_cancel");
    expect(await source.runState()).toBe("running");
  });
});
