import { dupFd, eventfd, Fd, fstat, liveFds, socketpair } from "@baton/linux";
import { describe, expect, it } from "@jest/globals";
import { ringKinds } from "../../test/support/net-bench.js";
import {
  GUEST_PORT,
  HOST_PORT,
  kinds,
  payload,
  read,
  some,
  VsockWorld,
  write,
} from "../../test/support/vsock-world.js";
import type { VirtioState } from "../device/state.js";
import type { SavedSocket, VsockState } from "./state.js";

/** Beyond what a process may open. */
const NOT_OPEN = 0x7fff_fffe;

/** A state with a change in what the device itself keeps. */
function changed(state: VirtioState, change: (device: VsockState) => Partial<Record<keyof VsockState, unknown>>) {
  const device = state.device as VsockState;
  return { ...state, device: { ...device, ...change(device) } };
}

/** A state whose sockets are others. */
function withSockets(state: VirtioState, sockets: readonly Partial<SavedSocket>[]): VirtioState {
  return changed(state, ({ connections }) => ({
    connections: connections.map((connection, i) => ({ ...connection, ...sockets[i] })),
  }));
}

describe.each(ringKinds)("the state of a socket device on %p", (rings) => {
  it("has the requests and answers that the guest is owed", async () => {
    using world = await VsockWorld.start({ rings, buffers: 0 });
    const { guest } = world;
    world.listen();
    guest.send({ hostPort: HOST_PORT, guestPort: 7 }, "request");
    guest.send({ hostPort: 9, guestPort: 8 }, "request");
    world.dial(`CONNECT ${GUEST_PORT}\n`);
    guest.until(() => world.connections === 2, "both connections");
    await guest.move();
    guest.bench.settle();
    await guest.move();
    guest.supply(8);
    const packets = guest.until(() => some(guest.hear()), "the packets");
    expect(packets[0]).toMatchObject({ op: "rst", hostPort: 9, guestPort: 8 });
    const byPort = new Map(packets.map(({ op, guestPort }) => [guestPort, op]));
    expect(byPort.get(GUEST_PORT)).toBe("request");
    // What comes first is the answer: bytes and credit only after it.
    expect(packets.find(({ guestPort }) => guestPort === 7)?.op).toBe("response");
  });

  it("has half of a first line", async () => {
    using world = await VsockWorld.start({ rings });
    const { guest } = world;
    const program = world.dial("CONN");
    for (const text of ["ECT ", "5", "2"]) {
      guest.until(() => !guest.bench.turn(20), "rest");
      await guest.move();
      expect(guest.hear()).toEqual([]);
      write(program, text);
    }
    guest.until(() => !guest.bench.turn(20), "rest");
    const state = guest.bench.save();
    expect(state.device).toMatchObject({ handshakes: [{ line: "CONNECT 52" }] });
    await guest.move(() => state);
    write(program, "\nand the first bytes");
    const [request] = guest.until(() => some(guest.hear()), "the request");
    expect(request).toMatchObject({ op: "request", guestPort: 52 });
    guest.send(request as NonNullable<typeof request>, "response");
    expect(payload(guest.hear()).toString()).toBe("and the first bytes");
  });

  it("may be loaded again before the device goes on, which closes nothing", async () => {
    using world = await VsockWorld.start({ rings });
    const { guest } = world;
    const { program, ports } = world.guestToHost();
    const waiting = world.dial("CONNECT 5");
    guest.until(() => !guest.bench.turn(20), "rest");
    const before = liveFds().length;
    const state = guest.bench.save();
    guest.bench = await guest.bench.moved(state);
    for (let i = 0; i < 3; i++) guest.bench.call("load", structuredClone(state));
    expect(() =>
      guest.bench.call(
        "load",
        changed(state, () => ({ nextPort: 1 })),
      ),
    ).toThrow("device/nextPort");
    guest.bench.call("load", state);
    guest.bench.call("resume");
    expect(liveFds()).toHaveLength(before);
    write(program, "to the guest");
    guest.send(ports, "rw", { payload: Buffer.from("to the host") });
    write(waiting, "2\n");
    const heard = guest.until(() => {
      const packets = guest.hear();
      return packets.some(({ op }) => op === "request") ? packets : undefined;
    }, "the request");
    expect(payload(heard).toString()).toBe("to the guest");
    expect(read(program)?.toString()).toBe("to the host");
  });

  it("may be loaded by the device that made it", async () => {
    using world = await VsockWorld.start({ rings });
    const { guest } = world;
    const { program } = world.guestToHost();
    const state = guest.bench.save();
    guest.bench.call("load", state);
    guest.bench.call("resume");
    write(program, "still here");
    expect(payload(guest.until(() => some(guest.hear()), "the bytes")).toString()).toBe("still here");
  });
});

it("what has saved its state ends its connections when it is closed, unless the state was handed over", async () => {
  const close = async (handedOver: boolean) => {
    using world = await VsockWorld.start();
    const program = dupFd(world.guestToHost().program);
    const { device } = world.guest.bench.save();
    if (handedOver) world.guest.bench.call("give-state");
    return { program, sockets: (device as VsockState).connections };
  };
  using ended = (await close(false)).program;
  expect(read(ended)).toBeNull();
  const { program, sockets } = await close(true);
  using kept = program;
  expect(read(kept)).toHaveLength(0);
  for (const { fd } of sockets) Fd.adopt(fd, "saved").close();
  expect(read(kept)).toBeNull();
});

describe("a socket that is not there any more", () => {
  it("resets its connection, and leaves the others", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    const gone = [world.guestToHost(1), world.guestToHost(2)];
    const { program, ports } = world.guestToHost(3);
    await guest.move((state) => withSockets(state, [{ fd: -1 }, { fd: NOT_OPEN }]));
    const packets = guest.hear();
    for (const { ports } of gone) {
      expect(packets.find(({ guestPort }) => guestPort === ports.guestPort)).toMatchObject({ op: "rst", ...ports });
    }
    expect(kinds(packets).filter((op) => op === "rst")).toHaveLength(2);
    expect(world.connections).toBe(1);
    write(program, "still here");
    const [bytes] = guest.until(() => some(guest.hear()), "the bytes");
    expect(bytes).toMatchObject({ op: "rw", ...ports });
  });

  it("also where the resets are more than a device makes, in a state that loads again", async () => {
    using world = await VsockWorld.start({ buffers: 0 });
    const { guest } = world;
    world.listen();
    for (let i = 0; i < 1100; i++) {
      guest.send({ hostPort: 9, guestPort: i }, "request");
      guest.bench.turn();
    }
    guest.send({ hostPort: HOST_PORT, guestPort: 5000 }, "request");
    guest.bench.settle();
    const resets = (state: VirtioState) => (state.device as VsockState).resets.length;
    await guest.move((state) => {
      expect(resets(state)).toBe(1024);
      return withSockets(state, [{ fd: -1 }]);
    });
    await guest.move((state) => {
      expect(resets(state)).toBe(1025);
      return state;
    });
    expect(world.connections).toBe(0);
  });
});

describe("a state is refused", () => {
  it("whose sockets are other files, before any is taken", async () => {
    using world = await VsockWorld.start();
    const { guest } = world;
    world.guestToHost(1);
    const { program } = world.guestToHost(2);
    const state = guest.bench.save();
    using file = eventfd();
    const [left, right] = socketpair();
    using _left = left;
    using _right = right;
    const load = (sockets: readonly Partial<SavedSocket>[]) => () =>
      guest.bench.call("load", withSockets(state, sockets));
    const [saved] = (state.device as VsockState).connections;
    for (const socket of [
      { fd: left.raw },
      { fd: file.raw, inode: fstat(file).ino },
      { inode: (saved?.inode ?? 0n) + 1n },
    ]) {
      expect(load([{}, socket])).toThrow(
        expect.objectContaining({
          code: "DEVICE_STATE",
          message: expect.stringMatching(/^bench\/device\/connections\[1\]\/fd: .*is not the socket that was saved/),
        }),
      );
    }
    expect(load([{}, { ...saved, guestPort: 9 } as Partial<SavedSocket>])).toThrow(
      "bench/device/connections: have a socket twice",
    );
    expect(load([{}, { guestPort: 1 } as Partial<SavedSocket>])).toThrow(
      "bench/device/connections: have two ports twice",
    );
    const handshakes = [{ fd: saved?.fd, inode: saved?.inode, line: "" }];
    expect(() =>
      guest.bench.call(
        "load",
        changed(state, () => ({ handshakes })),
      ),
    ).toThrow("have a socket twice");
    guest.bench.call("load", state);
    guest.bench.call("resume");
    write(program, "still here");
    expect(payload(guest.until(() => some(guest.hear()), "the bytes")).toString()).toBe("still here");
  });

  it.each([
    ["connections", 7],
    ["connections", Array.from({ length: 1024 }, () => ({}))],
    ["handshakes", [{ fd: -2, inode: 0n, line: "" }]],
    ["handshakes", [{ fd: -1, inode: 0n, line: "x".repeat(65) }]],
    ["resets", [{ hostPort: -1, guestPort: 0 }]],
    ["resets", Array.from({ length: 2048 }, () => ({ hostPort: 1, guestPort: 1 }))],
    ["nextPort", 1],
    ["nextPort", 2 ** 32],
    ["halted", 1],
    ["guestCid", 3],
  ])("whose %s are %j", async (field, value) => {
    using world = await VsockWorld.start();
    const { bench } = world.guest;
    const state = bench.save();
    expect(() =>
      bench.call(
        "load",
        changed(state, () => ({ [field]: value })),
      ),
    ).toThrow(expect.objectContaining({ code: "DEVICE_STATE", message: expect.stringContaining(`device/${field}`) }));
  });

  it("of a guest that has another CID", async () => {
    using world = await VsockWorld.start();
    const { bench } = world.guest;
    const state = changed(bench.save(), () => ({ guestCid: 4n }));
    expect(() => bench.call("load", state)).toThrow("device/guestCid: the guest has CID 4, this device 3");
  });

  it.each([
    ["phase", "half open"],
    ["owesRequest", 1],
    ["peerBufAlloc", -1],
    ["fwdCnt", 2 ** 32],
    ["pending", new Uint8Array(256 * 1024 + 1)],
    ["sentShutdown", 4],
  ])("with a connection whose %s is %j", async (field, value) => {
    using world = await VsockWorld.start();
    world.guestToHost();
    const { bench } = world.guest;
    const state = bench.save();
    expect(() => bench.call("load", withSockets(state, [{ [field]: value }]))).toThrow(`connections[0]/${field}`);
    bench.call("load", state);
    bench.call("resume");
  });
});

it("nothing is read, written or accepted between a load and resume", async () => {
  using world = await VsockWorld.start();
  const { guest } = world;
  const { program, ports } = world.guestToHost();
  const waiting = world.dial("CONNECT 5");
  guest.until(() => !guest.bench.turn(20), "rest");
  const state = guest.bench.save();
  guest.bench = await guest.bench.moved(state);
  write(program, "later");
  write(waiting, "2\n");
  world.dial("CONNECT 53\n");
  guest.send(ports, "rw", { payload: Buffer.from("also later") });
  for (let i = 0; i < 5; i++) guest.bench.turn(10);
  expect(guest.take()).toEqual([]);
  expect(read(program)?.length).toBe(0);
  guest.bench.call("resume");
  const heard = new Set<string>();
  guest.until(() => {
    for (const { op, guestPort } of guest.hear()) heard.add(`${op} ${guestPort}`);
    return heard.has("rw 2000") && heard.has("request 52") && heard.has("request 53");
  }, "all of it");
  expect(read(program)?.toString()).toBe("also later");
});
