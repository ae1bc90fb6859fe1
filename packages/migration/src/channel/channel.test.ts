import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { stat } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { liveFds, O_RDWR, open, threadCount } from "@baton/linux";
import { RamBlock } from "@baton/memory";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import {
  type Channel,
  formatMigrationAddress,
  inMemoryChannels,
  listenIncoming,
  openIncoming,
  openOutgoing,
  parseMigrationAddress,
  readStream,
  type StreamRam,
  writeStream,
} from "../index.js";

const fails = (code: string, message?: RegExp) =>
  expect.objectContaining({ code, ...(message ? { message: expect.stringMatching(message) } : {}) });
const SIZE = 64 * 2 ** 20;

let directory: string;
let fdsBefore: readonly string[];
let threadsBefore: number;

const openFds = () => readdirSync("/proc/self/fd").length;

// Node's own pool of threads starts with the first work for it.
beforeAll(() => stat("/"));

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "baton-channel-"));
  fdsBefore = liveFds().map(({ name }) => name);
  threadsBefore = threadCount();
});

afterEach(() => {
  expect(liveFds().map(({ name }) => name)).toEqual(fdsBefore);
  expect(threadCount()).toBeLessThanOrEqual(threadsBefore);
  rmSync(directory, { recursive: true });
});

/** RAM without a zero page. */
function fullRam(size = SIZE): StreamRam & Disposable {
  const block = RamBlock.create({ id: "pc.ram", size: BigInt(size) });
  new Uint8Array(block.view(0, size)).fill(0xa5);
  return { block, [Symbol.dispose]: () => block.close() };
}

const save = (channel: Channel, ram: StreamRam, options?: Parameters<typeof writeStream>[2]) =>
  writeStream(channel, { machineType: "m", ram: [ram], sections: [] }, options);

describe("addresses", () => {
  it.each([
    ["file:/a,b", { kind: "file", path: "/a,b" }],
    ["file:/a,offset=0x10", { kind: "file", path: "/a", offset: 16 }],
    ["file:/a,offset=2M", { kind: "file", path: "/a", offset: 2 ** 21 }],
    ["unix:/s", { kind: "unix", path: "/s" }],
    ["tcp:[::1]:5", { kind: "tcp", host: "::1", port: 5 }],
    ["tcp::4444", { kind: "tcp", host: "", port: 4444 }],
    ["fd:7", { kind: "fd", name: "7" }],
    ["exec:cat > x:y", { kind: "exec", command: "cat > x:y" }],
  ])("%s", (uri, address) => {
    expect(parseMigrationAddress(uri)).toEqual(address);
    expect(parseMigrationAddress(formatMigrationAddress(parseMigrationAddress(uri)))).toEqual(address);
  });

  it.each([
    ["", /unknown migration protocol/],
    ["rdma:a:1", /unknown migration protocol 'rdma'/],
    ["file:", /names no file/],
    ["file:/a,offset=x", /offset 'x' is no number/],
    ["file:/a,offset=99999999T", /is no number/],
    ["unix:", /names no socket/],
    ["tcp:host", /not tcp:HOST:PORT/],
    ["tcp:host:70000", /at most 65535/],
    ["tcp:host:1,to=5", /options are not supported: 'to=5'/],
    ["exec:", /names no command/],
    ["fd:", /names no descriptor/],
  ])("'%s' is refused", (uri, reason) => {
    expect(() => parseMigrationAddress(uri)).toThrow(fails("CHANNEL_ADDRESS", reason));
  });
});

describe("a file", () => {
  it.each(["new", "old"])("keeps what had its name until the end, a %s one", async (age) => {
    const path = join(directory, "stream");
    if (age === "old") writeFileSync(path, "old");
    const before = readdirSync(directory);
    using ram = fullRam(4096);
    const aborted = new AbortController();
    for (const how of ["close", "abort", "fail"]) {
      const channel = await openOutgoing(`file:${path}`);
      await save(channel, ram);
      expect(readdirSync(directory)).toHaveLength(before.length + 1);
      if (how === "abort") {
        aborted.abort(new Error("enough"));
        await expect(channel.end({ signal: aborted.signal })).rejects.toThrow("enough");
      }
      if (how === "fail") expect(() => channel.seek(-1)).not.toThrow();
      await channel.close();
      await channel.close();
      expect(readdirSync(directory)).toEqual(before);
      await expect(channel.write(Uint8Array.of(1))).rejects.toEqual(fails("CHANNEL_CLOSED"));
    }
    if (age === "old") expect(readFileSync(path, "utf8")).toBe("old");
    const channel = await openOutgoing(`file:${path}`);
    await save(channel, ram);
    await channel.end();
    await channel.end();
    await channel.close();
    expect(readdirSync(directory)).toEqual(["stream"]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("that cannot be opened is named", async () => {
    await expect(openOutgoing(`file:${directory}/none/stream`)).rejects.toEqual(fails("CHANNEL_OPEN", /none\/stream/));
    await expect(openIncoming(`file:${directory}/none`)).rejects.toEqual(fails("CHANNEL_OPEN", /none: .*ENOENT/));
    await expect(openOutgoing("fd:999")).rejects.toEqual(fails("CHANNEL_OPEN", /fd:999/));
    await expect(openOutgoing("fd:name")).rejects.toEqual(fails("CHANNEL_OPEN", /no descriptor of this name/));
    await expect(openOutgoing(`unix:${directory}/none`)).rejects.toEqual(
      fails("CHANNEL_OPEN", /unix:.*ECONNREFUSED|ENOENT/),
    );
    await expect(openOutgoing("tcp:127.0.0.1:1")).rejects.toEqual(fails("CHANNEL_OPEN", /tcp:127.0.0.1:1: /));
  });

  const mountable = (() => {
    try {
      execFileSync("unshare", ["-m", "true"], { stdio: "ignore" });
      return process.getuid?.() === 0;
    } catch {
      return false;
    }
  })();

  (mountable ? it : it.skip)(`on a full disk leaves nothing${mountable ? "" : " (skipped: needs root)"}`, async () => {
    const small = join(directory, "small");
    mkdirSync(small);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small]);
    try {
      using ram = fullRam();
      for (const name of [`file:${small}/stream`, `exec:cat > ${small}/other`]) {
        const channel = await openOutgoing(name);
        const done = save(channel, ram).then(() => channel.end());
        await expect(done).rejects.toEqual(
          fails(name.startsWith("file") ? "CHANNEL_DISK_FULL" : "CHANNEL_PEER_CLOSED"),
        );
        await channel.close();
      }
      expect(existsSync(join(small, "stream"))).toBe(false);
      expect(readdirSync(small)).toEqual(["other"]);
    } finally {
      execFileSync("umount", [small]);
    }
  });

  it("goes by the number of a descriptor or its name", async () => {
    using ram = fullRam(8192);
    const path = join(directory, "stream");
    writeFileSync(path, "");
    const write = await openOutgoing("fd:mine", { findFd: () => open(path, O_RDWR).release() });
    await save(write, ram);
    await write.end();
    await write.close();
    using empty = fullRam(8192);
    await using read = await openIncoming(`fd:${open(path, O_RDWR).release()}`);
    await readStream(read, { machineType: "m", ram: [empty], sections: [] });
  });
});

/** Something that listens and does with its connections what a test wants. */
async function server(path: string, onConnection: (socket: Socket) => void): Promise<Server> {
  const listening = createServer({ pauseOnConnect: true }, onConnection);
  await new Promise<void>((resolve) => listening.listen(path, resolve));
  return listening;
}

describe("a socket", () => {
  it("whose peer takes nothing times out, is cancelled at once and does not block", async () => {
    const path = join(directory, "socket");
    const sockets: Socket[] = [];
    const listening = await server(path, (socket) => void sockets.push(socket));
    using ram = fullRam();
    const slow = await openOutgoing(`unix:${path}`);
    await expect(save(slow, ram, { timeoutMs: 100 })).rejects.toEqual(
      fails("CHANNEL_TIMEOUT", /takes nothing for 100 ms/),
    );
    await expect(slow.write(Uint8Array.of(1))).rejects.toEqual(fails("CHANNEL_CLOSED"));
    await slow.close();

    const stuck = await openOutgoing(`unix:${path}`);
    const stop = new AbortController();
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    let reported = 0;
    const writing = save(stuck, ram, { signal: stop.signal, onProgress: ({ bytes }) => (reported = bytes) });
    const settled = writing.catch((error: Error) => error);
    while (reported === 0) await delay(10);
    const usage = process.cpuUsage();
    await delay(200);
    const { user, system } = process.cpuUsage(usage);
    // Who waits does not compute.
    expect((user + system) / 1000).toBeLessThan(150);
    expect(ticks).toBeGreaterThan(10);
    const at = performance.now();
    stop.abort(new Error("enough"));
    expect(await settled).toEqual(new Error("enough"));
    expect(performance.now() - at).toBeLessThan(1000);
    clearInterval(timer);
    await stuck.close();

    const closing = await openOutgoing(`unix:${path}`);
    const failing = save(closing, ram).catch((error: Error) => error);
    await delay(50);
    await closing.close();
    expect(await failing).toEqual(fails("CHANNEL_CLOSED"));
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => listening.close(resolve));
  });

  it("whose peer dies says so: while it is written, before its end, while it is read", async () => {
    const path = join(directory, "socket");
    using ram = fullRam();
    const dying = await server(path, (socket) => void setTimeout(() => socket.destroy(), 50));
    await using write = await openOutgoing(`unix:${path}`);
    await expect(save(write, ram)).rejects.toEqual(fails("CHANNEL_PEER_CLOSED", /unix:.*went away/));
    await using unread = await openOutgoing(`unix:${path}`);
    await expect(unread.write(new Uint8Array(1000)).then(() => unread.end())).rejects.toEqual(
      fails("CHANNEL_PEER_CLOSED"),
    );
    await new Promise((resolve) => dying.close(resolve));

    await using listener = await listenIncoming(`unix:${path}`);
    createConnection(path).end("QEVM\0\0\0\x03\x07");
    await using read = await listener.accept();
    await expect(readStream(read, { machineType: "m", ram: [ram], sections: [] })).rejects.toEqual(
      fails("VMSTATE_TRUNCATED"),
    );
  });

  it("is cancelled while it waits for a peer, for bytes, and for the end", async () => {
    const path = join(directory, "socket");
    const cancelled = () => AbortSignal.timeout(30);
    await using listener = await listenIncoming(`unix:${path}`);
    const reason = expect.objectContaining({ name: "TimeoutError" });
    await expect(listener.accept({ signal: cancelled() })).rejects.toEqual(reason);
    await expect(listener.accept({ timeoutMs: 20 })).rejects.toEqual(fails("CHANNEL_TIMEOUT"));
    const peer = createConnection(path);
    peer.on("error", () => {});
    await using channel = await listener.accept();
    await expect(channel.read({ signal: cancelled() })).rejects.toEqual(reason);
    const second = createConnection({ path, allowHalfOpen: true });
    second.on("error", () => {});
    await using other = await listener.accept();
    await expect(other.end({ signal: cancelled() })).rejects.toEqual(reason);
    await expect(listenIncoming(`unix:${path}`)).rejects.toEqual(fails("SOCKET_IN_USE"));
    peer.destroy();
    second.destroy();
  });

  it("can be closed while it waits for a peer", async () => {
    const listener = await listenIncoming("tcp:127.0.0.1:0");
    const accepting = listener.accept().catch((error: Error) => error);
    await delay(20);
    await listener.close();
    expect(await accepting).toEqual(fails("CHANNEL_CLOSED"));
  });
});

describe("a command", () => {
  it("that fails or dies is named", async () => {
    using ram = fullRam(4096);
    const failing = await openOutgoing("exec:cat > /dev/null; exit 3");
    await save(failing, ram);
    await expect(failing.end()).rejects.toEqual(fails("CHANNEL_COMMAND", /exit 3: the command ended with status 3/));
    await failing.close();
    using large = fullRam();
    const dead = await openOutgoing("exec:kill -9 $$");
    await expect(save(dead, large)).rejects.toEqual(fails("CHANNEL_PEER_CLOSED"));
    await dead.close();
    await using absent = await openIncoming("exec:nonsense-that-is-not-there 2>/dev/null");
    await expect(readStream(absent, { machineType: "m", ram: [ram], sections: [] })).rejects.toEqual(
      fails("STREAM_TRUNCATED"),
    );
  });

  it("that does nothing is ended with its channel", async () => {
    const channel = await openOutgoing("exec:exec sleep 1000");
    const stop = AbortSignal.timeout(50);
    using ram = fullRam();
    await expect(save(channel, ram, { signal: stop })).rejects.toEqual(
      expect.objectContaining({ name: "TimeoutError" }),
    );
    await channel.close();
  });
});

describe("memory", () => {
  it("has back-pressure, timeouts, cancels and ends", async () => {
    const [write, read] = inMemoryChannels();
    const block = new Uint8Array(2 ** 20 + 1);
    await write.write(block);
    await expect(write.write(block, { timeoutMs: 10 })).rejects.toEqual(fails("CHANNEL_TIMEOUT"));
    await expect(write.write(block, { signal: AbortSignal.timeout(10) })).rejects.toThrow();
    let bytes = 0;
    const ending = write.end();
    for (let part = await read.read(); part.length > 0; part = await read.read()) bytes += part.length;
    expect(bytes).toBe(block.length);
    await ending;
    await read.close();
    await expect(write.write(block)).rejects.toEqual(fails("CHANNEL_PEER_CLOSED"));
    expect(() => write.seek(0)).toThrow(fails("CHANNEL_NOT_SEEKABLE"));
  });
});

it("channels leave no descriptors behind", async () => {
  using ram = fullRam(8192);
  const before = openFds();
  for (let i = 0; i < 5; i++) {
    await using listener = await listenIncoming(`unix:${join(directory, "socket")}`);
    const [write, read] = await Promise.all([openOutgoing(listener.address), listener.accept()]);
    const reading = readStream(read, { machineType: "m", ram: [ram], sections: [] }).finally(() => read.close());
    await save(write, ram);
    await write.end();
    await reading;
    await write.close();
  }
  expect(openFds()).toBe(before);
  expect(existsSync(join(directory, "socket"))).toBe(false);
});
