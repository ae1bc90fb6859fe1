import { guestPath } from "@baton/guests";
import { afterAll, afterEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { createVm, serial, type VirtualMachine, type VmConfig } from "../src/index.js";
import { Scratch } from "./support/baton.js";
import { Peers } from "./support/peer.js";
import { tickerWord } from "./support/ticker.js";
import { until } from "./support/until.js";

const scratch = new Scratch();
const peers = new Peers();
afterEach(() => peers.close());
afterAll(() => scratch.remove());

let count = 0;
const fresh = () => scratch.at(`socket-${count++}`);

const config: VmConfig = {
  memory: { sizeMiB: 32 },
  boot: { kernel: guestPath("ticker"), cmdline: "rate=100 pages=64 dirty=8" },
  devices: [serial()],
};

/** A VM whose guest has begun to tick. */
async function ticking(): Promise<VirtualMachine> {
  const vm = await createVm(config);
  // More than the buffers of a socket hold.
  vm.machine.memory.fill(24n << 20n, 4 << 20, 0x5a);
  await vm.start();
  await until(() => tickerWord(vm.machine.memory, "TICKS") > 0, "the first tick");
  return vm;
}

describeKvm("the migration of a VM, from the library", () => {
  it("tells its progress to its end, on both sides", async () => {
    await using source = await ticking();
    await using target = await createVm(config, { incoming: "later" });
    const arrival = await target.migration.receive(`unix:${fresh()}`);
    const departure = await source.migration.start(target.migration.report().address as string);
    const seen = await Promise.all(
      [departure, arrival].map(async (run) => {
        let last: unknown;
        for await (const { pages, zeroPages, totalPages } of run) last = { pages: pages + zeroPages, totalPages };
        return last;
      }),
    );
    const pages = 32 * 256;
    expect(seen).toEqual([
      { pages, totalPages: pages },
      { pages, totalPages: pages },
    ]);
    expect(await departure.finished).toMatchObject({ status: "completed", direction: "outgoing" });
    expect(await arrival.finished).toMatchObject({ status: "completed", direction: "incoming" });
    expect([source.runState, target.runState]).toEqual(["postmigrate", "running"]);
  });

  it("ends when no byte moves for so long, and the guest runs on", async () => {
    await using source = await ticking();
    const { uri } = await peers.listen(fresh(), 1, "hang");
    const { finished } = await source.migration.start(uri, { timeoutMs: 300 });
    await expect(finished).rejects.toMatchObject({ code: "CHANNEL_TIMEOUT" });
    expect(source.migration.report()).toMatchObject({ status: "failed", error: { code: "CHANNEL_TIMEOUT" } });
    expect(source.runState).toBe("running");
  });

  it("stands when that happens after everything was sent", async () => {
    await using source = await ticking();
    const { uri } = await peers.listen(fresh(), 0x7fff_ffff, "drain");
    const { finished } = await source.migration.start(uri, { timeoutMs: 300 });
    await expect(finished).rejects.toMatchObject({ code: "CHANNEL_TIMEOUT" });
    expect(source.runState).toBe("paused");
    await source.resume();
    expect(source.runState).toBe("running");
  });

  it("obeys a signal: before it begins, and while the peer hangs; with the reason that was given", async () => {
    await using source = await ticking();
    const { uri, reached } = await peers.listen(fresh(), 1, "hang");
    const reason = new Error("changed my mind");
    await expect(source.migration.start(uri, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(source.migration.report().status).toBe("none");

    const controller = new AbortController();
    const { finished } = await source.migration.start(uri, { signal: controller.signal });
    await reached;
    controller.abort(reason);
    await expect(finished).rejects.toBe(reason);
    expect(source.migration.report().status).toBe("cancelled");
    expect(source.runState).toBe("running");
    // It is over: the signal has nothing more to say.
    const again = await source.migration.start(`file:${fresh()},offset=0`);
    expect((await again.finished).status).toBe("completed");
  });

  it("awaits one guest only, but elsewhere if it could not listen", async () => {
    await using first = await createVm(config, { incoming: "later" });
    await using second = await createVm(config, { incoming: "later" });
    const taken = `unix:${fresh()}`;
    const awaiting = await first.migration.receive(taken, { endOnError: false });
    await expect(first.migration.receive(`unix:${fresh()}`)).rejects.toMatchObject({ code: "MIGRATION_STATE" });
    await expect(second.migration.receive(taken)).rejects.toMatchObject({ code: "SOCKET_IN_USE" });
    expect(second.runState).toBe("inmigrate");
    await expect(second.reset()).rejects.toMatchObject({ code: "MIGRATION_STATE" });

    await using source = await ticking();
    const elsewhere = await second.migration.receive(`unix:${fresh()}`);
    await (await source.migration.start(second.migration.report().address as string)).finished;
    await elsewhere.finished;
    expect(second.runState).toBe("running");

    await first.migration.cancel();
    await expect(awaiting.finished).rejects.toMatchObject({ code: "MIGRATION_CANCELLED" });
  });
});
