import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { POLLOUT } from "./abi/event.js";
import { MSG_DONTWAIT, MSG_PEEK, SO_RCVBUF, SOL_SOCKET } from "./abi/socket.js";
import { eventfd } from "./eventfd.js";
import { getCloexec } from "./fcntl.js";
import { type Fd, liveFds } from "./fd.js";
import { recvFds, sendFds } from "./fd-passing.js";
import { fstat, ftruncate } from "./files.js";
import { memfdCreate } from "./memfd.js";
import { poll } from "./poll.js";
import { getpid } from "./process.js";
import { decodeAddress, encodeAddress, formatAddress, type SocketAddress } from "./socket-address.js";
import {
  accept,
  connect,
  getSocketOption,
  isUnixSocketAlive,
  listen,
  localAddress,
  peerCredentials,
  recv,
  send,
  setSocketOption,
  shutdown,
  socketError,
  socketpair,
  tryRecv,
  trySend,
} from "./sockets.js";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "baton-sockets-"));
});
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(() => expect(liveFds()).toEqual([]));

function exchange(server: Fd, client: Fd): void {
  using peer = accept(server) as Fd;
  expect(send(client, Buffer.from("ping"))).toBe(4);
  const bytes = new Uint8Array(8);
  expect(recv(peer, bytes, MSG_PEEK)).toBe(4);
  expect(recv(peer, bytes)).toBe(4);
  expect(tryRecv(peer.raw, bytes, MSG_DONTWAIT)).toBe(-11);
  shutdown(client, "write");
  expect(recv(peer, bytes)).toBe(0);
}

describe("stream sockets", () => {
  it("unix, by path: the path stays", () => {
    const address: SocketAddress = { kind: "unix", path: join(dir, "s") };
    {
      using server = listen(address);
      using client = connect(address);
      expect(getCloexec(server) && getCloexec(client)).toBe(true);
      expect(localAddress(server)).toEqual(address);
      expect(localAddress(client)).toBeNull();
      expect(peerCredentials(client)).toMatchObject({ pid: getpid(), uid: process.getuid?.() });
      exchange(server, client);
    }
    expect(statSync(address.path).isSocket()).toBe(true);
    expect(() => listen(address)).toThrow(`bind ${address.path}: address already in use (EADDRINUSE)`);
    expect(() => connect(address)).toThrow(`connect ${address.path}: connection refused (ECONNREFUSED)`);
  });

  it("unix, abstract", () => {
    const address: SocketAddress = { kind: "abstract", name: `baton-${getpid()}` };
    using server = listen(address, { nonblock: true });
    expect(accept(server)).toBeNull();
    using client = connect(address);
    expect(localAddress(server)).toEqual(address);
    exchange(server, client);
  });

  it.each(["127.0.0.1", "::1"])("inet at %s, with a port of the kernel's choice", (host) => {
    using server = listen({ kind: "inet", host, port: 0 });
    const address = localAddress(server) as SocketAddress & { kind: "inet" };
    expect(address).toMatchObject({ kind: "inet", host });
    expect(address.port).toBeGreaterThan(0);
    using client = connect(address, { nonblock: true });
    poll([{ fd: client, events: POLLOUT }], 5000);
    expect(socketError(client)).toBe(0);
    exchange(server, client);
  });

  it("names the limit of unix paths", () => {
    const path = `/tmp/${"x".repeat(104)}`;
    expect(() => listen({ kind: "unix", path })).toThrow("110 bytes are more than the 108");
    expect(() => connect({ kind: "unix", path: path.slice(0, -2) })).toThrow("ENOENT");
  });

  it("a peer that is gone is EPIPE, not a signal", () => {
    const [a, b] = socketpair();
    b.close();
    expect(trySend(a.raw, Uint8Array.of(1))).toBe(-32);
    expect(() => send(a, Uint8Array.of(1))).toThrow("send socketpair: broken pipe (EPIPE)");
    a.close();
  });

  it("has options", () => {
    const [a, b] = socketpair();
    setSocketOption(a, SOL_SOCKET, SO_RCVBUF, 8192);
    expect(getSocketOption(a, SOL_SOCKET, SO_RCVBUF)).toBe(16384);
    a.close();
    b.close();
  });
});

describe("addresses", () => {
  it.each([
    ["0.0.0.0", "0.0.0.0"],
    ["::", "::"],
    ["fe80::1:2", "fe80::1:2"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
    ["localhost", "127.0.0.1"],
  ])("%s survives the way through sockaddr", (host, canonical) => {
    expect(decodeAddress(encodeAddress({ kind: "inet", host, port: 4444 }))).toEqual({
      kind: "inet",
      host: canonical,
      port: 4444,
    });
  });

  it("are written as people write them, and not resolved", () => {
    expect(formatAddress({ kind: "inet", host: "::1", port: 1 })).toBe("[::1]:1");
    expect(formatAddress({ kind: "abstract", name: "x" })).toBe("@x");
    expect(() => encodeAddress({ kind: "inet", host: "example.org", port: 1 })).toThrow("host must be an IP address");
    expect(() => encodeAddress({ kind: "inet", host: "::1", port: 65536 })).toThrow("port");
  });
});

describe("passing descriptors", () => {
  it("sends 300 in batches and receives them in order, close-on-exec", () => {
    const [a, b] = socketpair();
    const sent = Array.from({ length: 300 }, (_, i) => {
      const fd = memfdCreate(`f${i}`);
      ftruncate(fd, i);
      return fd;
    });
    const payload = Buffer.from("a payload of some bytes");
    sendFds(a, payload, sent);
    for (const fd of sent) fd.close();
    const pieces: Uint8Array[] = [];
    const fds: Fd[] = [];
    while (Buffer.concat(pieces).length < payload.length) {
      const got = recvFds(b, 1024, 253);
      expect(got.truncated).toBe(false);
      pieces.push(got.bytes);
      fds.push(...got.fds);
    }
    expect(Buffer.concat(pieces).toString()).toBe(payload.toString());
    expect(fds.map((fd) => Number(fstat(fd).size))).toEqual(sent.map((_, i) => i));
    expect(fds.every((fd) => getCloexec(fd))).toBe(true);
    for (const fd of [...fds, a, b]) fd.close();
  });

  it("reports descriptors that do not fit, and closes none that do", () => {
    const [a, b] = socketpair();
    using event = eventfd();
    sendFds(a, Uint8Array.of(1), [event, event, event]);
    const got = recvFds(b, 10, 2);
    expect({ fds: got.fds.length, truncated: got.truncated }).toEqual({ fds: 2, truncated: true });
    for (const fd of [...got.fds, a, b]) fd.close();
  });

  it("sends bytes alone, and tells the end", () => {
    const [a, b] = socketpair({ nonblock: true });
    sendFds(a, Uint8Array.of(1, 2), []);
    expect(recvFds(b, 10, 0)).toEqual({ bytes: Uint8Array.of(1, 2), fds: [], truncated: false });
    expect(() => recvFds(b, 10, 0, { timeoutMs: 1 })).toThrow(expect.objectContaining({ code: "TIMEOUT" }));
    a.close();
    expect(recvFds(b, 10, 1).bytes.byteLength).toBe(0);
    b.close();
  });

  it("refuses too few bytes, closed descriptors and a dead peer", () => {
    const [a, b] = socketpair();
    const closed = eventfd();
    closed.close();
    expect(() => sendFds(a, Uint8Array.of(1), Array(254).fill(0))).toThrow("at least 2 bytes");
    expect(() => sendFds(a, Uint8Array.of(1), [closed])).toThrow(expect.objectContaining({ code: "FD_CLOSED" }));
    b.close();
    expect(() => sendFds(a, Uint8Array.of(1), [a])).toThrow("EPIPE");
    a.close();
  });

  it("times out on a full socket instead of waiting for ever", () => {
    const [a, b] = socketpair({ nonblock: true });
    expect(() => sendFds(a, new Uint8Array(16 << 20), [], { timeoutMs: 5 })).toThrow("not ready within 5 ms");
    a.close();
    b.close();
  });
});

describe("the socket at a path", () => {
  it("is seen without a connection to it, and what is left of one that is gone is told apart", () => {
    const path = join(dir, "alive");
    const server = listen({ kind: "unix", path }, { nonblock: true });
    expect(isUnixSocketAlive(path)).toBe(true);
    expect(accept(server)).toBeNull();
    server.close();
    expect(isUnixSocketAlive(path)).toBe(false);
  });
});
