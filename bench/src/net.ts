import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { virtioNet } from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { compare } from "./compare.js";
import { compiled } from "./compile.js";
import { type GuestRun, runOnBaton, runOnQemu } from "./guest-run.js";
import { markdownTable } from "./statistics.js";

const ROUNDS = 5;
const BRIDGE = "batonbench";
const GUEST_TAP = "batonbench0";
const PEER_TAP = "batonbench1";
const GUEST_MAC = "52:54:00:ba:70:6e";

/** Sizes of frames in bytes: the least, for packets a second, and what one TSO packet holds, for bytes a second. */
const SIZES = [64, 65_226];
const PLAIN_MOST = 1514;

/** What the guest and the peer on the other tap do. */
interface Work {
  readonly name: string;
  readonly cmdline: string;
  readonly packets: number;
  readonly size: number;
  /** Words for `c/tap-peer.c`; nobody is there unless given. */
  readonly peer?: readonly string[];
}

function works(): Work[] {
  const all: Work[] = [];
  for (const size of SIZES) {
    const packets = size > PLAIN_MOST ? 600_000 : 2_000_000;
    const gso = size > PLAIN_MOST ? 1 : 0;
    const words = `size=${size} gso=${gso} packets=${packets}`;
    all.push({ name: `send ${size} bytes`, cmdline: `role=tx ${words}`, packets, size });
    const peer = ["send", `${size}`, GUEST_MAC];
    all.push({ name: `receive ${size} bytes`, cmdline: `role=rx ${words}`, packets, size, peer });
  }
  const packets = 40_000;
  all.push({ name: "round trip", cmdline: `role=pingpong packets=${packets}`, packets, size: 64, peer: ["echo"] });
  return all;
}

/** Frames of a guest through a tap on a bridge with another, on Baton and on QEMU, by turns. */
export async function benchNet(): Promise<string> {
  const rows: string[][] = [];
  makeNetwork();
  try {
    for (const work of works()) {
      const own: GuestRun[] = [];
      const peer: GuestRun[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        own.push(await withPeer(work, (job) => runOnBaton(job, batonCard)));
        peer.push(await withPeer(work, (job) => runOnQemu(job, QEMU_CARD)));
      }
      rows.push(compare(work.name, work.packets, own, peer));
    }
  } finally {
    deleteNetwork();
  }
  return markdownTable(["frames", "Baton, 1/s", "QEMU, 1/s", "ratio", "Baton, µs CPU each", "QEMU, µs CPU each"], rows);
}

const batonCard = (iothread: string) =>
  virtioNet({ id: "net", backend: { kind: "tap", name: GUEST_TAP }, mac: GUEST_MAC, iothread });

const QEMU_CARD = [
  "-netdev",
  `tap,id=tap,ifname=${GUEST_TAP},script=no,downscript=no,vhost=off`,
  "-device",
  `virtio-net-device,netdev=tap,mac=${GUEST_MAC}`,
];

/** Runs the guest, whose peer begins when the guest is ready. */
async function withPeer(
  { cmdline, peer }: Work,
  run: (job: Parameters<typeof runOnBaton>[0]) => Promise<GuestRun>,
): Promise<GuestRun> {
  const job = { kernel: guestPath("netbench"), cmdline, from: "ready" };
  if (peer === undefined) return run(job);
  const child: ChildProcess = spawn(compiled("tap-peer"), [PEER_TAP, ...peer], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "close");
  try {
    await once(child.stdout as NonNullable<typeof child.stdout>, "data");
    return await run({ ...job, onFrom: () => void child.stdin?.write("\n") });
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

const ip = (...words: string[]) => execFileSync("ip", words, { stdio: "inherit" });

function makeNetwork(): void {
  if (process.getuid?.() !== 0) throw new Error("The network's benchmark makes a bridge and taps: run it as root");
  // A run that was killed has left its own.
  deleteNetwork();
  ip("link", "add", BRIDGE, "type", "bridge");
  for (const tap of [GUEST_TAP, PEER_TAP]) {
    ip("tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr");
    ip("link", "set", tap, "master", BRIDGE);
    ip("link", "set", tap, "up");
  }
  ip("link", "set", BRIDGE, "up");
}

function deleteNetwork(): void {
  for (const name of [GUEST_TAP, PEER_TAP, BRIDGE]) spawnSync("ip", ["link", "del", name]);
}
