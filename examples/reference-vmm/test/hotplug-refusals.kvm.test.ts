import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeviceThread } from "@baton/core-kvm";
import { virtioBlk, virtioNet, virtioRng } from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { liveFds } from "@baton/linux";
import { afterAll, afterEach, beforeEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { errorClass } from "../src/command/error-class.js";
import { commandTable } from "../src/command/table.js";
import { createVm, type VirtualMachine, type VmConfig } from "../src/index.js";

const directory = mkdtempSync(join(tmpdir(), "baton-refusals-"));
const stallModule = new URL("./support/stall.mjs", import.meta.url).href;
afterAll(() => rmSync(directory, { recursive: true }));

function image(name: string): string {
  const path = join(directory, name);
  writeFileSync(path, new Uint8Array(1 << 20));
  return path;
}

function config(more: Partial<VmConfig> = {}): VmConfig {
  return {
    memory: { sizeMiB: 32 },
    boot: { kernel: guestPath("ticker"), cmdline: "rate=10 root=/dev/vda" },
    slots: { disks: 3, nics: 1 },
    iothreads: [{ id: "io" }],
    devices: [virtioBlk({ id: "root", path: image("root.img") }), virtioRng({ id: "rng" })],
    ...more,
  };
}

const names = ({ machine }: VirtualMachine) => machine.virtio.hotplug.info.map(({ device }) => device);
/** Everything that a refusal must leave as it was. */
const picture = (vm: VirtualMachine) => ({
  slots: names(vm),
  devices: vm.machine.virtio.devices.map(({ id }) => id),
  blocks: vm.backends.blocks.ids,
  nets: vm.backends.nets.ids,
  fds: liveFds().length,
  state: vm.runState,
});

describeKvm("what cannot be plugged", () => {
  let vm: VirtualMachine;
  const run = (name: string, args: object) =>
    commandTable.execute({ vm, quit: () => {} }, name, args as Readonly<Record<string, unknown>>, {
      signal: new AbortController().signal,
      afterReply: () => {},
    });
  const node = (id: string, path: string) => ({ "node-name": id, file: { driver: "file", filename: path } });
  const disk = (id: string, more = {}) => ({ id, driver: "virtio-blk-mmio", ...more });

  beforeEach(async () => {
    vm = await createVm(config());
    await run("blockdev-add", node("a", image("a.img")));
    await run("device_add", disk("a", { addr: "0x1" }));
    await run("blockdev-add", node("b", image("b.img")));
  });
  afterEach(() => vm.close());

  it.each<[string, string, object, string, string]>([
    [
      "a slot that is taken",
      "device_add",
      disk("b", { addr: "0x1" }),
      "SLOT_TAKEN",
      "Device 'b' cannot have disk slot 1: device 'a' is in it",
    ],
    [
      "the root's slot",
      "device_add",
      disk("b", { addr: "0" }),
      "SLOT_TAKEN",
      "Device 'b' cannot have disk slot 0: device 'root' is in it",
    ],
    [
      "a slot beyond the limit",
      "device_add",
      disk("b", { addr: "0x3" }),
      "SLOT_LIMIT",
      "Device 'b' cannot have disk slot 3: the machine has 3 disk slots",
    ],
    [
      "a lun beyond the limit",
      "device_add",
      disk("b", { lun: 2 }),
      "SLOT_LIMIT",
      "Device 'b' cannot have disk slot 3: the machine has 3 disk slots",
    ],
    [
      "a slot that is no number",
      "device_add",
      disk("b", { addr: "two" }),
      "INVALID_ARGUMENT",
      "addr 'two' is no number of a slot",
    ],
    [
      "two slots",
      "device_add",
      disk("b", { addr: "0x2", lun: 1 }),
      "INVALID_ARGUMENT",
      "takes one of 'addr' and 'lun'",
    ],
    [
      "a node of another name",
      "device_add",
      disk("c", { drive: "b" }),
      "BACKEND_NAME",
      "Device 'c' must have the name of its block node, not 'b'",
    ],
    ["no back end", "device_add", disk("c"), "BACKEND_MISSING", "Device 'c': there is no block node 'c'"],
    [
      "no network back end",
      "device_add",
      { id: "n", driver: "virtio-net-mmio" },
      "BACKEND_MISSING",
      "Device 'n': there is no network back end 'n'",
    ],
    ["a device that is there", "device_add", disk("a"), "DUPLICATE_ID", "There is a device 'a' already"],
    [
      "a driver that is none",
      "device_add",
      { id: "b", driver: "virtio-blk-pci" },
      "DRIVER_UNKNOWN",
      "'virtio-blk-pci' cannot be plugged in",
    ],
    [
      "an iothread that is none",
      "device_add",
      disk("b", { iothread: "none" }),
      "IOTHREAD_UNKNOWN",
      "there is no iothread 'none'",
    ],
    [
      "an iothread that serves no slot",
      "device_add",
      disk("b", { iothread: "io" }),
      "IOTHREAD_SLOT",
      "the disk slot 2 is served by the shared device thread, not 'io'",
    ],
    ["an unknown device", "device_del", { id: "c" }, "DEVICE_NOT_FOUND", "Device 'c' not found"],
    ["the root disk", "device_del", { id: "root" }, "ROOT_DISK", "Device 'root' has the guest's root file system"],
    ["a device beside the slots", "device_del", { id: "rng" }, "DEVICE_FIXED", "Device 'rng' does not stand in a slot"],
    [
      "an empty slot by its name",
      "device_del",
      { id: "disk-slot-2" },
      "DEVICE_NOT_FOUND",
      "Device 'disk-slot-2' not found",
    ],
    ["a node that is there", "blockdev-add", node("b", "x"), "DUPLICATE_ID", "There is a block node 'b' already"],
    ["a node with a disk on it", "blockdev-add", node("a", "x"), "BACKEND_IN_USE", "The block node 'a' is in use"],
    [
      "a node in use",
      "blockdev-del",
      { "node-name": "a" },
      "BACKEND_IN_USE",
      "The block node 'a' is in use: device 'a' stands on it",
    ],
    ["an unknown node", "blockdev-del", { "node-name": "c" }, "BACKEND_MISSING", "There is no block node 'c'"],
    ["an unknown network back end", "netdev_del", { id: "c" }, "BACKEND_MISSING", "There is no network back end 'c'"],
    ["an image that is not there", "blockdev-add", node("c", "/nowhere.img"), "IMAGE_OPEN", "c: open"],
    [
      "a descriptor without a name",
      "netdev_add",
      { id: "n", fd: "tap" },
      "FD_MISSING",
      "over a UNIX socket of QMP alone",
    ],
    [
      "a name that no tap has",
      "netdev_add",
      { id: "n", ifname: "a-name-too-long-for-a-tap" },
      "TAP_OPEN",
      "is no name of an interface",
    ],
  ])("%s is refused, and all is as before", async (_, command, args, code, message) => {
    const before = picture(vm);
    await expect(run(command, args)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    expect(picture(vm)).toEqual(before);
    if (code === "DEVICE_NOT_FOUND") expect(errorClass(code)).toBe("DeviceNotFound");
  });

  it("the image of the guest's root is refused by whatever path", async () => {
    const before = picture(vm);
    const path = join(directory, "..", directory.split("/").at(-1) as string, "root.img");
    await expect(run("blockdev-add", node("c", path))).rejects.toMatchObject({ code: "ROOT_DISK" });
    expect(picture(vm)).toEqual(before);
  });

  it("an image that another VM uses is refused, before and with the device", async () => {
    const path = image("shared.img");
    await run("blockdev-add", node("late", path));
    const other = await createVm(config({ devices: [virtioBlk({ id: "disk", path })] }));
    try {
      const before = picture(vm);
      await expect(run("blockdev-add", node("c", path))).rejects.toMatchObject({ code: "IMAGE_LOCKED" });
      await expect(run("device_add", disk("late"))).rejects.toMatchObject({ code: "IMAGE_LOCKED" });
      expect(picture(vm)).toEqual(before);
    } finally {
      await other.close();
    }
    await run("device_add", disk("late"));
    expect(names(vm)).toEqual(["root", "a", "late", null]);
  });

  it("a disk of several queues does not fit, nor does a card on sockets where taps go", async () => {
    const before = picture(vm);
    const wide = virtioBlk({ id: "c", path: image("c.img"), queues: 2 });
    await expect(vm.attach(wide)).rejects.toMatchObject({ code: "DEVICE_SHAPE" });
    await expect(vm.attach(virtioRng({ id: "rng2" }))).rejects.toMatchObject({ code: "DEVICE_FIXED" });
    expect(picture(vm)).toEqual(before);
  });

  it("the name of a node is free again once its device is gone", async () => {
    await run("device_del", { id: "a" });
    await run("device_add", disk("a"));
    await run("device_del", { id: "a" });
    await run("blockdev-add", node("a", image("again.img")));
    await run("blockdev-del", { "node-name": "a" });
    await expect(run("device_add", disk("a"))).rejects.toMatchObject({ code: "BACKEND_MISSING" });
  });

  it("a VM that has shut down says so; one that never ran, or is reset, goes on", async () => {
    await run("device_add", disk("b"));
    await vm.start();
    await vm.reset();
    await run("device_del", { id: "b" });
    await vm.shutdown("host-qmp-quit");
    const before = picture(vm);
    await expect(run("device_add", disk("b"))).rejects.toMatchObject({
      code: "PLUG_STATE",
      message: "Device 'b' cannot be plugged in while the VM is 'shutdown'",
    });
    await expect(run("device_del", { id: "a" })).rejects.toMatchObject({ code: "PLUG_STATE" });
    expect(picture(vm)).toEqual(before);
  });

  it("a thread that does not answer is not waited for: what was begun is undone, or finished", async () => {
    const thread = await DeviceThread.shared();
    const stall = await thread.serve({ module: stallModule, factory: "stallService", options: null });
    const hold = () => {
      const flag = new Int32Array(new SharedArrayBuffer(4));
      const held = stall.call("stall", { flag, timeoutMs: 20_000 });
      return async () => {
        Atomics.store(flag, 0, 1);
        Atomics.notify(flag, 0);
        await held;
      };
    };
    const deleted: string[] = [];
    vm.onEvent((event) => event.type === "device-deleted" && deleted.push(event.device));
    const c = virtioBlk({ id: "c", path: image("late.img") });
    const before = picture(vm);
    let release = hold();
    await expect(vm.attach(c, { slot: 2, timeoutMs: 50 })).rejects.toMatchObject({ code: "TIMEOUT" });
    await expect(vm.attach(c, { slot: 2 })).rejects.toMatchObject({ code: "SLOT_BUSY" });
    await release();
    // Once the thread answers, the slot is emptied again, and the image is free.
    await expect(retry(() => vm.attach(c, { slot: 2 }))).resolves.toBe(undefined);
    release = hold();
    const abort = new AbortController();
    const detached = vm.detach("c", { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 50);
    await expect(detached).rejects.toThrow("enough");
    expect(deleted).toEqual([]);
    await release();
    await retry(async () => expect(deleted).toEqual(["c"]));
    expect(picture(vm)).toEqual(before);
    await stall.close();
    await thread.release();
  });

  it("a machine without slots refuses, and says what to do", async () => {
    const { slots: _, ...without } = config();
    const other = await createVm({ ...without, devices: [] });
    try {
      await expect(other.attach(virtioBlk({ id: "c", path: image("c.img") }))).rejects.toMatchObject({
        code: "SLOT_LIMIT",
        message: expect.stringContaining("the machine has 0 disk slots"),
      });
    } finally {
      await other.close();
    }
    expect(() => virtioNet({ id: "n", backend: { kind: "tap" }, queues: 99 })).toThrow("queues must be 1 to 16");
  });
});

/** Tries until it succeeds, for some seconds. */
async function retry<T>(work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
