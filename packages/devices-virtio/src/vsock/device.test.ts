import { createHash } from "node:crypto";
import { accept, EAGAIN, type Fd, shutdown, socketpair, tryRecv, trySend } from "@baton/linux";
import { describe, expect, it } from "@jest/globals";
import { ringKinds } from "../../test/support/net-bench.js";
import { GUEST_BUFFER, type Ports, VsockGuest, type VsockPacket } from "../../test/support/vsock-guest.js";
import {
  GUEST_PORT,
  HOST_PORT,
  kinds,
  pattern,
  payload,
  read,
  some,
  VsockWorld,
  write,
} from "../../test/support/vsock-world.js";
import type { QueueFeatures } from "../queue/features.js";
import { SHUTDOWN_RECEIVE, SHUTDOWN_SEND } from "./packet.js";

const BOTH = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

const ended = (fd: Fd) => read(fd) === null;
const lengthOf = (pieces: readonly Buffer[]) => pieces.reduce((sum, { length }) => sum + length, 0);

describe.each(ringKinds)("a socket device on %p", (rings) => {
  it("connects programs of the host to the guest, and moves bytes both ways", async () => {
    using world = await VsockWorld.start({ rings });
    const { guest } = world;
    const { program, ports } = world.hostToGuest();
    for (const text of ["first", "second"]) {
      write(program, text);
      const [packet] = guest.until(() => some(guest.hear()), "the bytes");
      expect(packet).toMatchObject({ ...ports, type: 1, flags: 0, bufAlloc: GUEST_BUFFER });
      expect(packet?.payload.toString()).toBe(text);
      guest.send(ports, "rw", { payload: Buffer.from(`${text}!`) });
      guest.bench.settle();
      expect(read(program)?.toString()).toBe(`${text}!`);
    }
    expect(guest.bench.interrupts).toBeGreaterThan(0);
  });

  it("connects the guest to programs of the host", async () => {
    using world = await VsockWorld.start({ rings });
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    guest.send(ports, "rw", { payload: Buffer.from("to the host") });
    guest.bench.settle();
    expect(read(program)?.toString()).toBe("to the host");
    write(program, "to the guest");
    expect(payload(guest.until(() => some(guest.hear()), "the bytes")).toString()).toBe("to the guest");
  });

  it("moves to another device in the middle of two streams, without a gap or a byte twice", async () => {
    using world = await VsockWorld.start({ rings });
    const { guest } = world;
    const { program, ports } = world.hostToGuest();
    const sent = { host: createHash("sha256"), guest: createHash("sha256") };
    const got = { host: createHash("sha256"), guest: createHash("sha256") };
    const counts = { hostSent: 0, guestSent: 0, hostGot: 0, guestGot: 0, told: 0, pending: 0 };
    let waiting: Buffer = Buffer.alloc(0);
    const hostReads = () => {
      for (let bytes = read(program, 30_011); bytes?.length; bytes = read(program, 30_011)) {
        got.host.update(bytes);
        counts.hostGot += bytes.length;
      }
    };
    const guestReads = () => {
      for (const packet of guest.hear()) {
        if (packet.op === "creditRequest") guest.send(ports, "creditUpdate");
        counts.told = packet.fwdCnt;
        got.guest.update(packet.payload);
        counts.guestGot += packet.payload.length;
      }
    };
    const guestWrites = () => {
      const bytes = pattern(50_000, counts.guestSent);
      if (counts.guestSent - counts.told + bytes.length > GUEST_BUFFER) return;
      guest.send(ports, "rw", { payload: bytes });
      sent.guest.update(bytes);
      counts.guestSent += bytes.length;
    };
    const hostWrites = () => {
      if (waiting.length === 0) {
        waiting = pattern(77_777, counts.hostSent);
        sent.host.update(waiting);
        counts.hostSent += waiting.length;
      }
      waiting = waiting.subarray(Math.max(0, trySend(program.raw, waiting)));
    };
    for (let round = 0; round < 40; round++) {
      hostWrites();
      guestWrites();
      guestWrites();
      for (let turn = 0; turn < round % 4; turn++) guest.bench.turn();
      if (round % 2 === 1) {
        await guest.move((state) => {
          const { connections } = state.device as { connections: { pending: Uint8Array }[] };
          counts.pending += connections[0]?.pending.length ?? 0;
          return state;
        });
      }
      if (round % 3 === 0) guestReads();
      if (round % 5 === 4) hostReads();
    }
    for (let round = 0; round < 100 && (waiting.length > 0 || counts.guestGot < counts.hostSent); round++) {
      if (waiting.length > 0) hostWrites();
      guestReads();
      guest.send(ports, "creditUpdate");
    }
    hostReads();
    guest.bench.settle();
    hostReads();
    expect(counts).toMatchObject({ hostGot: counts.guestSent, guestGot: counts.hostSent });
    expect(got.host.digest("hex")).toBe(sent.guest.digest("hex"));
    expect(got.guest.digest("hex")).toBe(sent.host.digest("hex"));
    expect(counts.pending).toBeGreaterThan(0);
  });

  it("answers a driver that breaks the rules with DEVICE_NEEDS_RESET, does nothing more, and starts again", async () => {
    using world = await VsockWorld.start({ rings, buffers: 0 });
    const { guest } = world;
    guest.supply(1, 43);
    guest.supply(4);
    guest.send({ hostPort: HOST_PORT, guestPort: 1 }, "request");
    guest.bench.settle();
    expect(guest.bench.status & 0x40).toBe(0x40);
    expect(guest.bench.events.map(({ name }) => name)).toEqual(["needs-reset"]);
    const interrupts = guest.bench.interrupts;
    world.dial(`CONNECT ${GUEST_PORT}\n`);
    expect(guest.bench.settle()).toBeLessThan(10);
    await guest.move();
    expect(guest.bench.status & 0x40).toBe(0x40);
    expect(guest.bench.settle()).toBeLessThan(10);
    expect(guest.take()).toEqual([]);
    expect(interrupts).toBeGreaterThan(0);
    guest.up(rings);
    guest.supply(4);
    const request = guest.until(() => guest.hear()[0], "the request");
    expect(request).toMatchObject({ op: "request", guestPort: GUEST_PORT });
  });
});

describe("connections", () => {
  it("are refused where nobody listens, on either side", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    guest.send({ hostPort: 9, guestPort: 1 }, "request");
    expect(guest.hear()).toMatchObject([{ op: "rst", hostPort: 9, guestPort: 1 }]);
    const { program, ports } = world.ask();
    guest.send(ports, "rst");
    guest.bench.settle();
    expect(ended(program)).toBe(true);
    expect(world.connections).toBe(0);
  });

  it("that nobody has get a reset, and resets get none", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const ports = { hostPort: 1, guestPort: 2 };
    for (const op of ["rw", "response", "shutdown", "creditUpdate", "creditRequest"] as const) guest.send(ports, op);
    guest.send(ports, "rst");
    guest.send(ports, "request", { type: 2 });
    guest.send(ports, "rw", { length: 5 });
    guest.send(ports, "rw", { op: 77 });
    expect(kinds(guest.hear())).toEqual(Array.from({ length: 8 }, () => "rst"));
  });

  it("are not for other machines: packets with wrong addresses are dropped", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const ports = { hostPort: 1, guestPort: 2 };
    guest.send(ports, "rw", { srcCid: 4n });
    guest.send(ports, "rw", { dstCid: 1n });
    expect(guest.hear()).toEqual([]);
  });

  it.each([
    ["says more bytes than there are", (guest: VsockGuest, ports: Ports) => guest.send(ports, "rw", { length: 5 })],
    ["asks for it again", (guest: VsockGuest, ports: Ports) => guest.send(ports, "request")],
    ["accepts it twice", (guest: VsockGuest, ports: Ports) => guest.send(ports, "response")],
    ["invents an operation", (guest: VsockGuest, ports: Ports) => guest.send(ports, "rw", { op: 9 })],
    [
      "sends after it said that it would not",
      (guest: VsockGuest, ports: Ports) => {
        guest.send(ports, "shutdown", { flags: SHUTDOWN_SEND });
        guest.send(ports, "rw", { payload: Buffer.from("x") });
      },
    ],
  ])("end at once for both sides when the guest %s", async (_, misbehave) => {
    using world = await VsockWorld.start({ buffers: 0 });
    const { guest } = world;
    guest.supply(1);
    const program = world.dial(`CONNECT ${GUEST_PORT}\n`);
    const ports = guest.until(() => guest.take()[0], "the request");
    guest.send(ports, "response");
    misbehave(guest, ports);
    guest.bench.settle();
    expect(read(program)?.toString()).toContain("OK");
    // Also for a guest that gives no buffer for the answer.
    expect(ended(program)).toBe(true);
    guest.supply(2);
    guest.bench.settle();
    expect(kinds(guest.take())).toEqual(["rst"]);
    expect(world.connections).toBe(0);
  });

  it("are at most 1023, and there is room again when one ends", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const listener = world.listen();
    const programs: Fd[] = [];
    const request = (guestPort: number) => {
      guest.send({ hostPort: HOST_PORT, guestPort }, "request");
      const [answer] = guest.hear();
      const program = accept(listener, { nonblock: true });
      if (program !== null) programs.push(world.keep(program));
      return answer?.op;
    };
    for (let i = 0; i < 1023; i++) if (request(i) !== "response") throw new Error(`connection ${i} is refused`);
    expect(world.connections).toBe(1023);
    expect(request(5000)).toBe("rst");
    const late = world.dial();
    guest.until(() => ended(late), "the end of a program too many");
    guest.send({ hostPort: HOST_PORT, guestPort: 7 }, "rst");
    guest.bench.settle();
    expect(ended(programs[7] as Fd)).toBe(true);
    expect(request(5000)).toBe("response");
    // All of them still work, and those with something to say have their turns.
    for (const [i, program] of programs.entries()) if (i % 100 === 0) write(program, `${i}`);
    const said: string[] = [];
    guest.until(() => {
      said.push(...guest.hear().map((packet) => packet.payload.toString()));
      return said.length >= 11;
    }, "what they say");
    expect(said.sort()).toEqual(Array.from({ length: 11 }, (_, i) => `${i * 100}`).sort());
  });

  it("are given up when the guest does not answer, or the host's program says nothing", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const silent = world.dial();
    const { program: asking, ports } = world.ask();
    guest.until(() => ended(asking), "the end of the one that asked");
    guest.until(() => ended(silent), "the end of the one that was silent");
    expect(guest.hear()).toMatchObject([{ op: "rst", ...ports }]);
    expect(world.connections).toBe(0);
  });

  it.each(["GET / HTTP/1.1\n", "CONNECT\n", "CONNECT x\n", "CONNECT 4294967296\n", "x".repeat(40)])(
    "are not made by a first line such as %j",
    async (line) => {
      using world = await VsockWorld.start();
      const { guest } = world;
      const program = world.dial(line);
      guest.until(() => ended(program), "the end");
      expect(guest.hear()).toEqual([]);
    },
  );
});

it("a listening socket that fails is tried again later, and nothing else suffers", async () => {
  using world = await VsockWorld.start();
  const [broken, other] = socketpair({ nonblock: true });
  using _broken = broken;
  using _other = other;
  write(other, "readable, and no listener");
  const guest = await VsockGuest.start({ listenFd: broken.raw, path: world.path }, ringKinds[0] as QueueFeatures);
  try {
    expect(guest.bench.settle()).toBeLessThan(10);
    guest.send({ hostPort: 9, guestPort: 1 }, "request");
    expect(kinds(guest.hear())).toEqual(["rst"]);
    guest.until(() => guest.bench.turn(20), "another try");
    expect(guest.bench.settle()).toBeLessThan(10);
  } finally {
    guest[Symbol.dispose]();
  }
});

describe("credit", () => {
  it("of the guest is never exceeded, and asked for when it is used up", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    guest.reads = false;
    const { program, ports } = world.guestToHost();
    guest.send(ports, "creditUpdate", { bufAlloc: 1000 });
    expect(write(program, pattern(2500))).toBe(2500);
    const first = guest.until(() => some(guest.hear()), "the bytes");
    expect(payload(first)).toEqual(pattern(2500).subarray(0, 1000));
    expect(kinds(first).filter((op) => op !== "rw")).toEqual(["creditRequest"]);
    guest.send(ports, "creditUpdate", { bufAlloc: 1000 });
    expect(guest.hear()).toEqual([]);
    guest.send(ports, "creditUpdate", { bufAlloc: 1000, fwdCnt: 400 });
    expect(payload(guest.hear())).toEqual(pattern(2500).subarray(1000, 1400));
    // Less room than was promised: none.
    guest.send(ports, "creditUpdate", { bufAlloc: 10, fwdCnt: 500 });
    expect(payload(guest.hear())).toHaveLength(0);
    guest.send(ports, "creditUpdate", { bufAlloc: 5000, fwdCnt: 1400 });
    expect(payload(guest.hear())).toEqual(pattern(2500).subarray(1400));
  });

  it("counts in 32 bits", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    guest.reads = false;
    const { program, ports } = world.guestToHost();
    await guest.move((state) => {
      const device = state.device as { connections: object[] };
      const [connection] = device.connections;
      const near = { sentToPeer: 0xffff_fff0, peerFwdCnt: 0xffff_fff0, fwdCnt: 0xffff_fff0, toldFwdCnt: 0xffff_fff0 };
      return { ...state, device: { ...device, connections: [{ ...connection, ...near }] } };
    });
    write(program, "twenty bytes, or so..");
    expect(payload(guest.until(() => some(guest.hear()), "the bytes"))).toHaveLength(21);
    guest.send(ports, "rw", { payload: pattern(20), fwdCnt: 5, bufAlloc: 30 });
    guest.send(ports, "creditRequest", { fwdCnt: 5, bufAlloc: 30 });
    expect(guest.hear()).toMatchObject([{ op: "creditUpdate", fwdCnt: 4 }]);
    write(program, pattern(100));
    expect(payload(guest.until(() => some(guest.hear()), "the bytes"))).toHaveLength(30);
  });

  it("of the host is 256 KiB for a program that does not read, and comes back as it reads", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    const sent: Buffer[] = [];
    let told = 0;
    const send = (length: number) => {
      const bytes = pattern(length, sent.length);
      guest.send(ports, "rw", { payload: bytes });
      sent.push(bytes);
      for (const { fwdCnt } of guest.hear()) told = fwdCnt;
    };
    const total = () => sent.reduce((sum, { length }) => sum + length, 0);
    while (total() - told + 64_000 <= GUEST_BUFFER) send(64_000);
    guest.send(ports, "creditRequest");
    const [answer] = guest.hear();
    expect(total() - (answer?.fwdCnt ?? 0)).toBeLessThanOrEqual(GUEST_BUFFER);
    const got: Buffer[] = [];
    guest.until(() => {
      got.push(read(program) ?? Buffer.alloc(0));
      for (const { fwdCnt } of guest.hear()) told = fwdCnt;
      return lengthOf(got) === total();
    }, "all bytes");
    expect(total() - told).toBeLessThanOrEqual(GUEST_BUFFER / 4);
    expect(Buffer.concat(got).equals(Buffer.concat(sent))).toBe(true);
  });

  it("that the guest exceeds ends the connection", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    const packets: VsockPacket[] = [];
    for (let i = 0; i < 12; i++) {
      guest.send(ports, "rw", { payload: pattern(64_000) });
      packets.push(...guest.hear());
    }
    expect(kinds(packets).filter((op) => op === "rst").length).toBeGreaterThan(0);
    guest.until(() => ended(program), "the end");
  });
});

describe("buffers with room for a header alone", () => {
  it("take what has no bytes, do not make it spin, and do not stop those behind them", async () => {
    using world = await VsockWorld.start({ buffers: 8 });
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    // All buffers of the usual length are used up.
    while (guest.offered > 0) {
      write(program, "a");
      guest.until(() => some(guest.take()), "a byte");
    }
    guest.supply(3, 44);
    guest.supply(1);
    write(program, "behind");
    const other = { hostPort: 9, guestPort: 9 };
    guest.send(other, "request");
    expect(guest.bench.settle()).toBeLessThan(30);
    const packets = guest.take();
    expect(kinds(packets)).toEqual(["rst", "creditUpdate", "creditUpdate", "rw"]);
    expect(payload(packets).toString()).toBe("behind");
    expect(packets.slice(1).every(({ guestPort }) => guestPort === ports.guestPort)).toBe(true);
  });
});

describe("half-close", () => {
  it("by the guest ends the host's stream and leaves the other", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    guest.send(ports, "rw", { payload: Buffer.from("last words") });
    guest.send(ports, "shutdown", { flags: SHUTDOWN_SEND });
    guest.bench.settle();
    expect(read(program)?.toString()).toBe("last words");
    expect(ended(program)).toBe(true);
    write(program, "still here");
    expect(payload(guest.until(() => some(guest.hear()), "the bytes")).toString()).toBe("still here");
    shutdown(program, "write");
    const last = guest.until(() => some(guest.hear()), "the end");
    expect(kinds(last)).toEqual(["shutdown", "rst"]);
    expect(last[0]?.flags).toBe(BOTH);
    expect(world.connections).toBe(0);
  });

  it("by the host's program is told after its bytes, and leaves the other direction", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.hostToGuest();
    write(program, "last words");
    shutdown(program, "write");
    const packets = guest.until(() => some(guest.hear()), "the bytes");
    expect(kinds(packets)).toEqual(["rw", "shutdown"]);
    expect(packets[1]?.flags).toBe(SHUTDOWN_SEND);
    guest.send(ports, "rw", { payload: Buffer.from("still here") });
    guest.bench.settle();
    expect(read(program)?.toString()).toBe("still here");
    guest.send(ports, "shutdown", { flags: BOTH });
    expect(kinds(guest.hear())).toEqual(["rst"]);
    expect(ended(program)).toBe(true);
  });

  it("by a guest that receives no more is felt by a program that writes", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    guest.send(ports, "shutdown", { flags: SHUTDOWN_RECEIVE });
    guest.bench.settle();
    expect(write(program, "x")).toBeLessThan(0);
    guest.send(ports, "rw", { payload: Buffer.from("still here") });
    guest.bench.settle();
    expect(read(program)?.toString()).toBe("still here");
  });
});

describe("a peer that vanishes", () => {
  it("in the host is told when its bytes are through, and takes nothing more", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.hostToGuest();
    write(program, "last words");
    program.close();
    const packets = guest.until(() => some(guest.hear()), "the bytes");
    expect(kinds(packets)).toEqual(["rw", "shutdown"]);
    expect(packets[1]?.flags).toBe(BOTH);
    guest.send(ports, "rw", { payload: Buffer.from("to nobody") });
    guest.send(ports, "shutdown", { flags: BOTH });
    expect(kinds(guest.hear())).toEqual(["rst"]);
    expect(world.connections).toBe(0);
  });

  it("in the host while the guest's bytes wait for it frees their place", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    let told = 0;
    for (let sent = 0; sent - told + 64_000 <= GUEST_BUFFER; sent += 64_000) {
      guest.send(ports, "rw", { payload: pattern(64_000) });
      for (const { fwdCnt } of guest.hear()) told = fwdCnt;
    }
    program.close();
    const packets = guest.until(() => some(guest.hear()), "the end");
    expect(packets.find(({ op }) => op === "shutdown")?.flags).toBe(BOTH);
    guest.send(ports, "creditRequest");
    expect(guest.hear()[0]?.fwdCnt).toBeGreaterThan(told);
  });

  it("in the host while it waits for what the guest reads slowly leaves it that, and takes nothing", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    guest.reads = false;
    const { program, ports } = world.guestToHost();
    guest.send(ports, "creditUpdate", { bufAlloc: 10 });
    write(program, "twenty-four bytes in all");
    program.close();
    const first = guest.until(() => some(guest.hear()), "the first bytes");
    expect(kinds(first)).toEqual(["rw", "creditRequest"]);
    guest.send(ports, "rw", { payload: pattern(100), bufAlloc: 10 });
    expect(guest.hear()).toEqual([]);
    guest.send(ports, "creditUpdate", { bufAlloc: 10, fwdCnt: 10 });
    guest.send(ports, "creditUpdate", { bufAlloc: 10, fwdCnt: 20 });
    const rest = guest.hear();
    expect(payload([...first, ...rest]).toString()).toBe("twenty-four bytes in all");
    expect(rest[rest.length - 1]).toMatchObject({ op: "shutdown", flags: BOTH });
  });

  it("in the host that reads no more is told, and may still send", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    shutdown(program, "read");
    guest.send(ports, "rw", { payload: pattern(100) });
    expect(guest.hear()).toMatchObject([{ op: "shutdown", flags: SHUTDOWN_RECEIVE }]);
    write(program, "still here");
    expect(payload(guest.until(() => some(guest.hear()), "the bytes")).toString()).toBe("still here");
  });

  it("in the host before the guest has answered ends what the guest accepts", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.ask();
    program.close();
    guest.send(ports, "response");
    expect(kinds(guest.hear())).toEqual(["rst"]);
    expect(world.connections).toBe(0);
  });

  it("in the guest leaves to a slow program what was sent before", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    const sent: Buffer[] = [];
    let told = 0;
    while (lengthOf(sent) - told + 64_000 <= GUEST_BUFFER) {
      const bytes = pattern(64_000, sent.length);
      guest.send(ports, "rw", { payload: bytes });
      sent.push(bytes);
      for (const { fwdCnt } of guest.hear()) told = fwdCnt;
    }
    guest.send(ports, "shutdown", { flags: BOTH });
    expect(guest.hear()).toEqual([]);
    // Linux gives up after 8 seconds.
    guest.send(ports, "rst");
    guest.send(ports, "creditRequest");
    expect(kinds(guest.hear())).toEqual(["rst"]);
    await guest.move();
    expect(guest.hear()).toEqual([]);
    const got: Buffer[] = [];
    guest.until(() => {
      const bytes = read(program);
      got.push(bytes ?? Buffer.alloc(0));
      return bytes === null;
    }, "the end");
    expect(Buffer.concat(got).equals(Buffer.concat(sent))).toBe(true);
    guest.until(() => world.connections === 0, "the end of the connection");
  });

  it("and is reset by the guest in mid-stream is gone for the host's program", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    guest.send(ports, "rst");
    guest.bench.settle();
    expect(ended(program)).toBe(true);
    expect(tryRecv(program.raw, new Uint8Array(1))).not.toBe(-EAGAIN);
  });
});
