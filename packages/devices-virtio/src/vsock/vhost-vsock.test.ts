import { existsSync } from "node:fs";
import { eventfd } from "@baton/linux";
import { describe, expect, it } from "@jest/globals";
import { BENCH_BUFFERS, MmioBench } from "../../test/support/mmio-bench.js";
import { features } from "../../test/support/world.js";
import type { VirtioState } from "../device/state.js";
import { vhostVsock } from "./vhost-vsock.js";

const MODULE = new URL("../devices.ts", import.meta.url).href;
const SPLIT = features({ eventIndex: true });
const [RX, TX, EVENT] = [0, 1, 2];
const QUEUES = [RX, TX, EVENT];
const STATUS_NEEDS_RESET = 0x40;

const open = (description: ReturnType<typeof vhostVsock>) =>
  description.open((_name, _id, open) => open(), { ramBytes: 0 });

describe("vhostVsock", () => {
  const here = existsSync("/dev/vhost-vsock");
  (here ? it.skip : it)(`says which module to load${here ? " (skipped: it is loaded)" : ""}`, () => {
    expect(() => open(vhostVsock({ id: "sockets", guestCid: 3 }))).toThrow(
      expect.objectContaining({
        code: "VHOST_UNAVAILABLE",
        message: expect.stringMatching(/^sockets: vhost-vsock cannot be used: .*\/dev\/vhost-vsock/),
        hint: expect.stringContaining("modprobe vhost_vsock"),
      }),
    );
  });

  it("refuses a descriptor of something else, and one that is not open", () => {
    using other = eventfd();
    const given = (vhostFd: number) => () => open(vhostVsock({ id: "sockets", guestCid: 3, vhostFd }));
    expect(given(other.raw)).toThrow("sockets: the descriptor for vhost is none of /dev/vhost-vsock");
    expect(given(0x7fff_fffe)).toThrow(expect.objectContaining({ code: "VHOST_UNAVAILABLE" }));
  });

  it.each([0, 2, 2 ** 32 - 1, 3.5])("refuses CID %p", (guestCid) => {
    expect(() => vhostVsock({ id: "sockets", guestCid })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("offers no rings that vhost does not know", () => {
    const { rings } = vhostVsock({ id: "sockets", guestCid: 3, rings: { packed: true, inOrder: true } });
    expect(rings).toMatchObject({ packed: false, inOrder: false });
  });
});

/** A device on a descriptor that is no vhost: it stands for a kernel that refuses. */
async function refused() {
  const fd = eventfd();
  const options = { guestCid: 5n, vhostFd: fd.raw, vhostFeatures: 0n };
  const bench = await MmioBench.make({ module: MODULE, factory: "createVhostVsockDevice", options, queues: 3 });
  return {
    bench,
    [Symbol.dispose]() {
      bench.close();
      fd.close();
    },
  };
}

/** Gives the device a buffer for an event, of bytes that are not zero. */
function offerEvent(bench: MmioBench, length = 8): void {
  bench.memory.fill(BENCH_BUFFERS, 16, 0xee);
  bench.drivers[EVENT]?.add([{ gpa: BENCH_BUFFERS, length, writable: true }]);
  bench.kick(EVENT);
}

/** A state from elsewhere, of a device that runs. */
const movedState = (state: VirtioState): VirtioState => ({
  ...state,
  status: state.status & ~STATUS_NEEDS_RESET,
  device: { halted: false },
});

describe("a socket device of a kernel that refuses", () => {
  it("says so, needs a reset, and says so again after it", async () => {
    using made = await refused();
    const { bench } = made;
    for (let round = 0; round < 2; round++) {
      bench.events.length = 0;
      bench.start(0n, SPLIT, QUEUES);
      bench.settle();
      expect(bench.status & STATUS_NEEDS_RESET).toBe(STATUS_NEEDS_RESET);
      expect(bench.events).toEqual([
        { name: "vhost-failed", data: { reason: expect.stringContaining("VHOST_VSOCK_SET_GUEST_CID") } },
      ]);
    }
    expect(bench.command("info")).toEqual({ guestCid: 5, running: false });
    expect(bench.read(0x100)).toBe(5);
  });
});

describe("after a move", () => {
  it("the guest is told that its connections are gone, as soon as it has a buffer for that", async () => {
    using made = await refused();
    const { bench } = made;
    bench.start(0n, SPLIT, QUEUES);
    bench.settle();
    offerEvent(bench);
    bench.call("load", movedState(bench.save()));
    bench.settle();
    expect(bench.drivers[EVENT]?.rings.take()).toBeNull();
    bench.call("resume");
    bench.settle();
    expect(bench.drivers[EVENT]?.rings.take()).toMatchObject({ length: 4 });
    expect(Buffer.from(bench.memory.read(BENCH_BUFFERS, 8)).toString("hex")).toBe("00000000eeeeeeee");
    expect(bench.interrupts).toBeGreaterThan(0);
  });

  it("a guest whose driver was not up is told nothing", async () => {
    using made = await refused();
    const { bench } = made;
    bench.call("load", bench.save());
    bench.call("resume");
    bench.start(0n, SPLIT, QUEUES);
    offerEvent(bench);
    bench.settle();
    expect(bench.drivers[EVENT]?.rings.take()).toBeNull();
  });

  it("a buffer that holds no event makes the device need a reset", async () => {
    using made = await refused();
    const { bench } = made;
    bench.start(0n, SPLIT, QUEUES);
    offerEvent(bench, 3);
    bench.events.length = 0;
    bench.call("load", movedState(bench.save()));
    bench.call("resume");
    bench.settle();
    expect(bench.events).toMatchObject([
      { name: "needs-reset", data: { message: expect.stringContaining("shorter than an event") } },
    ]);
    expect(bench.save().device).toMatchObject({ halted: true });
  });

  it.each([
    ["halted", 1],
    ["halted", null],
  ])("a state whose %s is %p is refused", async (field, value) => {
    using made = await refused();
    const { bench } = made;
    const state = bench.save();
    const device = { halted: false, [field]: value };
    expect(() => bench.call("load", { ...state, device })).toThrow(`device/${field}`);
  });
});
