import { afterEach, describe, expect, it } from "@jest/globals";
import { MmioBench } from "../../test/support/mmio-bench.js";
import { features } from "../../test/support/world.js";
import type { BalloonInfo, VirtioState } from "../index.js";
import type { BalloonDeviceOptions, BalloonState } from "./device.js";

const MODULE = new URL("../devices.ts", import.meta.url).href;
/** Statistics, deflate on OOM, free page reporting. */
const FEATURES = 1n << 1n;

const benches: MmioBench[] = [];
afterEach(() => {
  for (const bench of benches.splice(0)) bench.close();
});

async function balloon(): Promise<MmioBench> {
  const options: BalloonDeviceOptions = { ramBytes: 64 << 20, deflateOnOom: false, freePageReporting: false };
  const bench = await MmioBench.make({ module: MODULE, factory: "createBalloonDevice", options, queues: 4 });
  benches.push(bench);
  bench.start(FEATURES, features(), [0, 1, 2]);
  return bench;
}

/** A state with some of the device's own fields changed. */
function changed(state: VirtioState, fields: Record<string, unknown>): VirtioState {
  return { ...state, device: { ...(state.device as BalloonState), ...fields } };
}

describe("a balloon's state", () => {
  it("takes statistics along, those by known names", async () => {
    const bench = await balloon();
    const statistics = { "stat-swap-in": 1n, "stat-free-memory": 2n ** 64n - 1n };
    const state = changed(bench.save(), { statistics: { ...statistics, "stat-of-tomorrow": "?" }, lastUpdate: 5 });
    bench.call("load", state);
    const info = bench.command("query") as BalloonInfo;
    expect([info.statistics, info.lastUpdate]).toEqual([statistics, 5]);
    expect((bench.save().device as BalloonState).statistics).toEqual(statistics);
  });

  it.each<[string, unknown]>([
    ["statistics", undefined],
    ["statistics", null],
    ["statistics", []],
    ["statistics", "stat-swap-in"],
    ["statistics/stat-swap-in", { "stat-swap-in": 1 }],
    ["statistics/stat-disk-caches", { "stat-disk-caches": -1n }],
    ["statistics/stat-htlb-pgfail", { "stat-htlb-pgfail": 2n ** 64n }],
  ])("is refused with a wrong %s: %p", async (field, statistics) => {
    const bench = await balloon();
    const state = changed(bench.save(), { statistics });
    const details = { device: "bench", field: `device/${field}` };
    expect(() => bench.call("load", state)).toThrow(expect.objectContaining({ code: "DEVICE_STATE", details }));
    expect((bench.command("query") as BalloonInfo).statistics).toEqual({});
  });

  it.each<[string, unknown]>([
    ["device/held", "chain"],
    ["device/held", 7],
  ])("is refused with a wrong %s: %p", async (field, held) => {
    const bench = await balloon();
    const state = changed(bench.save(), { held });
    expect(() => bench.call("load", state)).toThrow(expect.objectContaining({ details: { device: "bench", field } }));
  });
});
