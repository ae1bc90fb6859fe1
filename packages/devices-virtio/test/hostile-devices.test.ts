import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Fd, IoUring, tryRead, tryWrite } from "@baton/linux";
import { afterAll, describe, expect, it } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import {
  type VirtioDeviceDescription,
  virtioBalloon,
  virtioBlk,
  virtioConsole,
  virtioNet,
  virtioRng,
  virtioVsock,
} from "../src/index.js";
import { Attacker } from "./support/attacker.js";
import { BENCH_BUFFERS, BENCH_RAM, MmioBench } from "./support/mmio-bench.js";
import { frame, packet, packetPair } from "./support/net-bench.js";
import { features } from "./support/world.js";

const STEPS = rounds({ quick: 20_000, full: 1_000_000 });
/** Attacks between two looks whether the device still serves who keeps to the rules. */
const BETWEEN_LOOKS = 1024;
const SEED = Number(process.env.BATON_SEED) || 20261121;
const MODULE = new URL("../src/devices.ts", import.meta.url).href;
const VERSION_1 = 1n << 32n;

const directory = mkdtempSync(join(tmpdir(), "baton-attack-"));
const fds: Fd[] = [];
afterAll(() => {
  for (const fd of fds) fd.close();
  rmSync(directory, { recursive: true });
});

/** A device, and one request that it must answer: on which queue, what is read and how much may be written. */
interface Victim {
  readonly make: () => VirtioDeviceDescription;
  readonly queue: number;
  readonly request: Uint8Array;
  readonly room: number;
  /** What the world outside does meanwhile. */
  readonly tend?: () => void;
}

/** The network: packets come in, and those that go out are taken. */
const wire = packetPair();
fds.push(...wire);
const taken = new Uint8Array(0x1_0000);
function tendWire(): void {
  const [, far] = wire;
  while (tryRead(far.raw, taken) > 0);
  tryWrite(far.raw, packet(frame(64)));
}

function image(): string {
  const path = join(directory, "disk.img");
  writeFileSync(path, new Uint8Array(1 << 20));
  return path;
}

/** Asks for the serial number. */
const blk = { queue: 0, request: Uint8Array.of(8, 0, 0, 0, ...new Uint8Array(12)), room: 21 };

const victims: Readonly<Record<string, Victim>> = {
  blk: { make: () => virtioBlk({ id: "disk", path: image() }), ...blk },
  "blk on io_uring": { make: () => virtioBlk({ id: "disk", path: image(), aio: "io_uring" }), ...blk },
  net: {
    make: () => virtioNet({ id: "net", backend: { kind: "socket", fds: [wire[0].raw] } }),
    queue: 1,
    request: packet(frame(64)),
    room: 0,
    tend: tendWire,
  },
  console: {
    make: () => virtioConsole({ id: "con", ports: [{ id: "p0", console: true, backend: { kind: "null" } }] }),
    queue: 1,
    request: Uint8Array.of(0x78),
    room: 0,
  },
  rng: { make: () => virtioRng({ id: "rng" }), queue: 0, request: new Uint8Array(0), room: 16 },
  balloon: {
    make: () => virtioBalloon({ id: "balloon" }),
    queue: 1,
    request: Uint8Array.of(0, 1, 0, 0),
    room: 0,
  },
  vsock: {
    make: () => virtioVsock({ id: "sockets", guestCid: 3, path: join(directory, "vs") }),
    queue: 1,
    request: new Uint8Array(44),
    room: 0,
  },
};

function withoutRing(): string | undefined {
  try {
    IoUring.open().close();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const missing = withoutRing();
const attacked = Object.entries(victims).filter(([name]) => missing === undefined || !name.includes("io_uring"));

/** Whether a driver that keeps to the rules is served. */
function serves(bench: MmioBench, { queue, request, room }: Victim, packed: boolean): boolean {
  bench.start(VERSION_1, features({ packed }), [queue]);
  const driver = bench.drivers[queue];
  bench.memory.write(BENCH_BUFFERS, request);
  const parts = [
    { gpa: BENCH_BUFFERS, length: request.length, writable: false },
    { gpa: BENCH_BUFFERS + 0x1000, length: room, writable: true },
  ];
  const id = driver?.add(parts.filter(({ length }) => length > 0));
  bench.kick(queue);
  bench.settle();
  return driver?.rings.take()?.id === id;
}

describe(`a guest that breaks the rules ${STEPS} times (BATON_SEED=${SEED})`, () => {
  if (missing !== undefined) it.skip(`leaves blk on io_uring alive (skipped: ${missing})`, () => {});

  it.each(attacked)(
    "leaves %s alive, and touches nothing but its RAM",
    async (_name, victim) => {
      const description = victim.make();
      const opened = description.open((_for, _id, open) => open(), { ramBytes: BENCH_RAM });
      const { factory, queues } = description;
      const bench = await MmioBench.make({ module: MODULE, factory, options: opened.options, queues });
      try {
        const attacker = new Attacker(bench, queues, SEED);
        for (let step = 1; step <= STEPS; step++) {
          attacker.step();
          if (step % 16 === 0) victim.tend?.();
          if (step % BETWEEN_LOOKS !== 0 && step !== STEPS) continue;
          bench.events.length = 0;
          victim.tend?.();
          if (!serves(bench, victim, step % (2 * BETWEEN_LOOKS) === 0)) throw new Error(`dead after ${step} attacks`);
        }
        expect(attacker.needsReset).toBeGreaterThan(STEPS / 200);
      } finally {
        bench.close();
        await opened.close(false);
      }
    },
    STEPS * 2 + 60_000,
  );
});
