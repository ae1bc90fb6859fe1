import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NetInfo } from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { connect, type Fd, ioctl, liveFds, O_RDWR, open, POLLIN, poll, recv, sendFds } from "@baton/linux";
import { afterEach, beforeEach, expect, it } from "@jest/globals";
import { absence } from "../../../test/absence.js";
import { describeKvm } from "../../../test/describe-kvm.js";
import { createVm, type VirtualMachine } from "../src/index.js";
import { QmpServer } from "../src/qmp.js";
import { until } from "./support/until.js";

const TUNSETIFF = 0x400454ca;
/** Its own device reads and writes frames with their virtio headers: IFF_TAP, IFF_NO_PI, IFF_VNET_HDR. */
const TAP_FLAGS = 0x5002;
const TAP = "batonqmptap0";

/** A tap that is gone when its last descriptor is closed. */
function openTap(): Fd {
  const fd = open("/dev/net/tun", O_RDWR);
  const request = new Uint8Array(40);
  request.set(Buffer.from(TAP));
  new DataView(request.buffer).setUint16(16, TAP_FLAGS, true);
  try {
    ioctl(fd, TUNSETIFF, request, "TUNSETIFF");
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

const noTap = absence(openTap);

/** A QMP client that sends descriptors with its commands. */
class FdClient {
  readonly #socket: Fd;
  #text = "";

  constructor(path: string) {
    this.#socket = connect({ kind: "unix", path });
  }

  /** The next line, once it is there. */
  async line(): Promise<Record<string, unknown>> {
    const end = await until(() => {
      if ((poll([{ fd: this.#socket, events: POLLIN }], 0)[0] ?? 0) !== 0) {
        const bytes = new Uint8Array(1 << 16);
        this.#text += Buffer.from(bytes.subarray(0, recv(this.#socket, bytes))).toString("latin1");
      }
      return this.#text.indexOf("\r\n") + 1 || null;
    }, "a line of QMP");
    const line = this.#text.slice(0, end - 1);
    this.#text = this.#text.slice(end + 1);
    return JSON.parse(line);
  }

  send(command: string, args: object, fds: readonly Fd[] = []): void {
    sendFds(this.#socket, Buffer.from(JSON.stringify({ execute: command, arguments: args })), fds);
  }

  async execute(command: string, args: object, fds: readonly Fd[] = []): Promise<Record<string, unknown>> {
    this.send(command, args, fds);
    return this.line();
  }

  close(): void {
    this.#socket.close();
  }
}

describeKvm("descriptors over QMP's socket", () => {
  let directory: string;
  let vm: VirtualMachine;
  let server: QmpServer;
  let client: FdClient;
  let image: Fd;
  const ok = { return: {} };

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "baton-fds-"));
    writeFileSync(join(directory, "disk.img"), new Uint8Array(1 << 20));
    image = open(join(directory, "disk.img"), O_RDWR);
    vm = await createVm({
      memory: { sizeMiB: 32 },
      boot: { kernel: guestPath("hello") },
      slots: { disks: 1, nics: 1 },
    });
    const path = join(directory, "qmp");
    server = await QmpServer.listen({ kind: "unix", path, wait: false }, { vm, quit: () => {} });
    client = new FdClient(path);
    expect(await client.line()).toHaveProperty("QMP");
  });
  afterEach(async () => {
    client.close();
    await server.close();
    await vm.close();
    image.close();
    rmSync(directory, { recursive: true });
  });

  it("getfd names one, closefd closes it; without one, or with a bad name, they say so", async () => {
    const before = liveFds().length;
    expect(await client.execute("getfd", { fdname: "tap" }, [image])).toEqual(ok);
    expect(liveFds().length).toBe(before + 1);
    // One of the same name takes its place.
    expect(await client.execute("getfd", { fdname: "tap" }, [image])).toEqual(ok);
    expect(liveFds().length).toBe(before + 1);
    expect(await client.execute("closefd", { fdname: "tap" })).toEqual(ok);
    expect(liveFds().length).toBe(before);
    const refused = (desc: string) => ({ error: { class: "GenericError", desc } });
    expect(await client.execute("closefd", { fdname: "tap" })).toEqual(
      refused("File descriptor named 'tap' has not been found"),
    );
    expect(await client.execute("getfd", { fdname: "tap" })).toEqual(
      refused("No file descriptor supplied via SCM_RIGHTS"),
    );
    expect(await client.execute("getfd", { fdname: "1" }, [image])).toEqual(
      refused("Parameter 'fdname' expects a name not starting with a digit"),
    );
    expect(liveFds().length).toBe(before);
  });

  it("netdev_add tries a named one; one that is no tap stays the client's, and goes with it", async () => {
    const before = liveFds().length;
    await client.execute("getfd", { fdname: "tap" }, [image]);
    expect(await client.execute("netdev_add", { id: "net", fd: "tap" })).toMatchObject({
      error: { desc: expect.stringContaining("is not a tap") },
    });
    expect(vm.backends.nets.ids).toEqual([]);
    expect(liveFds().length).toBe(before + 1);
    client.close();
    await until(() => liveFds().length < before, "the end of the client's descriptors");
    client = new FdClient(join(directory, "qmp"));
    expect(await client.line()).toHaveProperty("QMP");
    expect(await client.execute("netdev_add", { id: "net", fd: "tap" })).toMatchObject({
      error: { desc: "File descriptor named 'tap' has not been found" },
    });
  });

  (noTap === "" ? it : it.skip)(
    `a tap that somebody else opened is a card's until that is unplugged${noTap}`,
    async () => {
      const there = () => existsSync(`/sys/class/net/${TAP}`);
      const before = liveFds().length;
      const tap = openTap();
      await client.execute("getfd", { fdname: "tap" }, [tap]);
      tap.close();
      expect(await client.execute("netdev_add", { id: "net", fd: "tap" })).toEqual(ok);
      client.close();
      client = new FdClient(join(directory, "qmp"));
      await client.line();
      expect(await client.execute("device_add", { id: "net", driver: "virtio-net-mmio", addr: "0x0" })).toEqual(ok);
      const info = (await vm.machine.virtio.find("net")?.command("info")) as NetInfo;
      expect([info.interface, info.linkUp, there()]).toEqual([TAP, true, true]);
      expect(await client.execute("device_del", { id: "net" })).toMatchObject({ event: "DEVICE_DELETED" });
      expect(await client.line()).toEqual(ok);
      expect(await client.execute("netdev_del", { id: "net" })).toEqual(ok);
      await until(() => !there(), "the end of the tap");
      expect(liveFds().length).toBe(before);
    },
  );

  it("add-fd makes one a file, which a disk is plugged in on, also after the client has left", async () => {
    expect(await client.execute("add-fd", { "fdset-id": 3 }, [image])).toMatchObject({ return: { "fdset-id": 3 } });
    client.close();
    client = new FdClient(join(directory, "qmp"));
    await client.line();
    const file = { driver: "file", filename: "/dev/fdset/3" };
    expect(await client.execute("blockdev-add", { "node-name": "d", file })).toEqual(ok);
    expect(await client.execute("device_add", { id: "d", driver: "virtio-blk-mmio" })).toEqual(ok);
    expect(await client.execute("remove-fd", { "fdset-id": 3 })).toEqual(ok);
    const info = (await vm.machine.virtio.find("d")?.command("info")) as { size: number };
    expect(info.size).toBe(1 << 20);
    expect(await client.execute("blockdev-add", { "node-name": "e", file })).toMatchObject({
      error: { desc: "There is no set of descriptors 3" },
    });
  });

  it("a client that leaves in mid-plug leaves a disk that is plugged in, or nothing", async () => {
    const before = liveFds().length;
    const add = { "node-name": "d", file: { driver: "file", filename: join(directory, "disk.img") } };
    const plug = { id: "d", driver: "virtio-blk-mmio" };
    for (let round = 0; round < 10; round++) {
      client.send("blockdev-add", add);
      client.send("device_add", plug);
      // Some leave at once, others while the disk is on its way.
      if (round % 2 === 1) await client.line();
      client.close();
      client = new FdClient(join(directory, "qmp"));
      await client.line();
      const { return: disks } = (await client.execute("query-block", {})) as { return: { device: string }[] };
      if (disks.length === 0) {
        await client.execute("blockdev-add", add);
        expect(await client.execute("device_add", plug)).toEqual(ok);
      } else expect(disks.map(({ device }) => device)).toEqual(["d"]);
      expect(await client.execute("device_del", { id: "d" })).toMatchObject({ event: "DEVICE_DELETED" });
      expect(await client.line()).toEqual(ok);
      expect(await client.execute("blockdev-del", { "node-name": "d" })).toEqual(ok);
      expect([vm.backends.blocks.ids, liveFds().length]).toEqual([[], before]);
    }
  });
});
