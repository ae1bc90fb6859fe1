import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { virtioVsock } from "@baton/devices-virtio";
import { guestPath, VIRTLOAD_ECHO_PORT, virtloadCmdline, virtloadStreamByte } from "@baton/guests";
import { afterAll, afterEach, beforeEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, serial, type VirtualMachine } from "../src/index.js";
import { until } from "./support/until.js";
import { VsockStream } from "./support/vsock-stream.js";

const MIB = 2 ** 20;
const STREAM_BYTES = rounds({ quick: 8, full: 100 }) * MIB;
const TIMEOUT_MS = 30_000 + (STREAM_BYTES / MIB) * 5000;
/** As many as the guest takes. */
const CONNECTIONS = 8;
/** The host's port that the guest connects to. */
const HOST_PORT = 1024;

describeKvm("sockets between guest and host", () => {
  const directory = mkdtempSync(join(tmpdir(), "baton-vsock-"));
  const path = join(directory, "vs");
  let vm: VirtualMachine;
  let output = "";
  let server: Server | undefined;
  const sockets: Socket[] = [];

  async function start(vsport: number): Promise<void> {
    output = "";
    vm = await createVm({
      memory: { sizeMiB: 64 },
      boot: {
        kernel: guestPath("virtload"),
        cmdline: virtloadCmdline({ vsport, vsbytes: STREAM_BYTES, print: 1e9, stall: 30e9 }),
      },
      discovery: "cmdline",
      devices: [
        serial({ onOutput: (bytes) => (output += Buffer.from(bytes).toString("latin1")) }),
        virtioVsock({ id: "sockets", guestCid: 7, path }),
      ],
    });
    await vm.start();
    await until(() => /^virtload/m.test(output), "the guest");
  }

  beforeEach(() => {
    server = undefined;
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server?.close();
    await vm.close();
    expect(output).not.toMatch(/BAD|STALL|RESET/);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it(
    "carry a stream of the host to the guest and back",
    async () => {
      await start(0);
      const stream = await VsockStream.open(path, VIRTLOAD_ECHO_PORT);
      await until(() => stream.received >= STREAM_BYTES, `${STREAM_BYTES} bytes`, TIMEOUT_MS);
      await stream.settle();
      stream.close();
    },
    TIMEOUT_MS,
  );

  it(
    "carry a stream of the guest to the host and back",
    async () => {
      let received = 0;
      let wrong: number | undefined;
      server = createServer({ allowHalfOpen: true }, (socket) => {
        sockets.push(socket);
        let at = 0;
        socket.on("data", (bytes) => {
          for (const byte of bytes) if (byte !== virtloadStreamByte(at++)) wrong ??= at - 1;
          received += bytes.length;
        });
        socket.on("error", () => {});
        socket.pipe(socket);
      });
      await new Promise<void>((resolve) => server?.listen(`${path}_${HOST_PORT}`, resolve));
      await start(HOST_PORT);
      await until(() => received >= STREAM_BYTES, `${STREAM_BYTES} bytes`, TIMEOUT_MS);
      expect(wrong).toBeUndefined();
    },
    TIMEOUT_MS,
  );

  it(
    "carry many connections at once, and refuse a port that nobody listens at",
    async () => {
      await start(0);
      const streams = await Promise.all(
        Array.from({ length: CONNECTIONS }, () => VsockStream.open(path, VIRTLOAD_ECHO_PORT)),
      );
      await until(() => streams.every((stream) => stream.received > 100_000), "progress of all", TIMEOUT_MS);
      for (const stream of streams) await stream.settle();
      for (const stream of streams) stream.close();
      await expect(VsockStream.open(path, 9)).rejects.toThrow("port 9 was refused");
    },
    TIMEOUT_MS,
  );

  it(
    "are half closed: the guest's bytes still come after the host has ended its own",
    async () => {
      await start(0);
      const socket = connect({ path, allowHalfOpen: true });
      sockets.push(socket);
      const chunks: Buffer[] = [];
      let ended = false;
      socket.on("data", (bytes: Buffer) => chunks.push(bytes));
      socket.on("end", () => {
        ended = true;
      });
      const sent = Buffer.alloc(100_000, "half closed ");
      socket.write(`CONNECT ${VIRTLOAD_ECHO_PORT}\n`);
      await until(() => chunks.length > 0, "the answer");
      socket.end(sent);
      await until(() => ended, "the end");
      const text = Buffer.concat(chunks);
      expect(text.subarray(text.indexOf(10) + 1).equals(sent)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    "survive peers that vanish in mid-stream, and first lines that make no sense",
    async () => {
      await start(0);
      for (let i = 0; i < 10; i++) {
        const stream = await VsockStream.open(path, VIRTLOAD_ECHO_PORT);
        await until(() => stream.received > 10_000, "some bytes");
        stream.close();
      }
      for (const line of ["GET / HTTP/1.1\n", "CONNECT x\n", "CONNECT 99999999999\n", "x".repeat(100)]) {
        const socket = connect(path);
        sockets.push(socket);
        let closed = false;
        socket.on("error", () => {});
        socket.on("close", () => {
          closed = true;
        });
        socket.write(line);
        await until(() => closed, `the end of the connection that said ${line}`);
      }
      const last = await VsockStream.open(path, VIRTLOAD_ECHO_PORT);
      await until(() => last.received > 100_000, "another stream");
      last.close();
      const info = async () => (await vm.machine.virtio.find("sockets")?.command("info")) as { connections: number };
      await until(async () => (await info()).connections === 0, "the end of all connections");
    },
    TIMEOUT_MS,
  );
});
