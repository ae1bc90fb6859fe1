import { afterEach, describe, expect, it } from "@jest/globals";
import { message, startWorker, untilInSyscall } from "../test/child.js";
import { CLOCK_MONOTONIC, EPOLLET, EPOLLIN, EPOLLOUT, POLLHUP, POLLIN, POLLNVAL, POLLOUT } from "./abi/event.js";
import { SIGURG } from "./abi/process.js";
import { boottimeNs, monotonicNs, realtimeNs } from "./clock.js";
import { Epoll } from "./epoll.js";
import { drainEventfd, eventfd, signalEventfd } from "./eventfd.js";
import { liveFds } from "./fd.js";
import { memfdCreate } from "./memfd.js";
import { poll } from "./poll.js";
import { getpid, tgkill } from "./process.js";
import { tryRead, tryWrite } from "./read-write.js";
import { installNoopHandler } from "./signals.js";
import { socketpair } from "./sockets.js";
import { timerfdCreate, timerfdGettime, timerfdSettime } from "./timerfd.js";

afterEach(() => expect(liveFds()).toEqual([]));

describe("eventfd", () => {
  it("adds up signals and drains them", () => {
    using fd = eventfd({ initial: 2 });
    signalEventfd(fd);
    signalEventfd(fd, 2n ** 40n);
    expect(drainEventfd(fd)).toBe(2n ** 40n + 3n);
    expect(drainEventfd(fd)).toBe(0n);
  });

  it("counts down as a semaphore", () => {
    using fd = eventfd({ initial: 2, semaphore: true });
    expect([drainEventfd(fd), drainEventfd(fd), drainEventfd(fd)]).toEqual([1n, 1n, 0n]);
  });

  it("stays full without an error", () => {
    using fd = eventfd();
    signalEventfd(fd, 2n ** 64n - 2n);
    signalEventfd(fd);
    expect(drainEventfd(fd)).toBe(2n ** 64n - 2n);
    expect(() => signalEventfd(fd, -1)).toThrow("n must be");
  });
});

describe("timerfd", () => {
  it("expires on its clock, and tells its setting", () => {
    using fd = timerfdCreate(CLOCK_MONOTONIC);
    const previous = timerfdSettime(fd, { value: 3_600_000_000_000n, interval: 1_500_000_000n });
    expect(previous).toEqual({ value: 0n, interval: 0n });
    const now = timerfdGettime(fd);
    expect(now.interval).toBe(1_500_000_000n);
    expect(now.value > 3_500_000_000_000n && now.value <= 3_600_000_000_000n).toBe(true);
    timerfdSettime(fd, { value: monotonicNs(), absolute: true });
    expect(poll([{ fd, events: POLLIN }], 5000)).toEqual([POLLIN]);
    const count = new BigUint64Array(1);
    expect(tryRead(fd.raw, new Uint8Array(count.buffer))).toBe(8);
    expect(count[0]).toBe(1n);
  });
});

describe("epoll", () => {
  it("reports tokens with events", () => {
    using epoll = new Epoll();
    using a = eventfd();
    using b = eventfd();
    epoll.add(a, EPOLLIN, 7);
    epoll.add(b, EPOLLIN | EPOLLET, 0xfffffff0);
    const pairs = new Uint32Array(8);
    expect(epoll.wait(4, 0, pairs)).toBe(0);
    signalEventfd(a);
    signalEventfd(b);
    expect(epoll.wait(4, -1, pairs)).toBe(2);
    expect([...pairs.subarray(0, 4)]).toEqual([7, EPOLLIN, 0xfffffff0, EPOLLIN]);
    expect(epoll.wait(4, 0, pairs)).toBe(1);
    epoll.modify(a, EPOLLOUT, -5);
    const signed = new Int32Array(2);
    expect(epoll.wait(4, 0, signed)).toBe(1);
    expect([...signed]).toEqual([-5, EPOLLOUT]);
    epoll.delete(a);
    expect(epoll.wait(4, 0, pairs)).toBe(0);
    expect(() => epoll.delete(a)).toThrow("epoll_ctl EPOLL_CTL_DEL eventfd: no such file or directory (ENOENT)");
    using file = memfdCreate("x");
    expect(() => epoll.add(file, EPOLLIN, 1)).toThrow("EPERM");
  });

  it("takes hundreds of events at once", () => {
    using epoll = new Epoll();
    const fds = Array.from({ length: 300 }, () => eventfd({ initial: 1 }));
    fds.forEach((fd, token) => {
      epoll.add(fd, EPOLLIN, token);
    });
    const pairs = new Uint32Array(600);
    expect(epoll.wait(300, 0, pairs)).toBe(300);
    expect(new Set(pairs.filter((_, i) => i % 2 === 0)).size).toBe(300);
    for (const fd of fds) fd.close();
  });

  it("closes once and refuses afterwards", () => {
    const epoll = new Epoll();
    epoll.close();
    epoll.close();
    expect(() => epoll.wait(1, 0, new Uint32Array(2))).toThrow(expect.objectContaining({ code: "FD_CLOSED" }));
  });
});

describe("poll", () => {
  it("reports each descriptor", () => {
    const [a, b] = socketpair();
    const closed = b.dup();
    expect(
      poll(
        [
          { fd: a, events: POLLIN | POLLOUT },
          { fd: b, events: POLLIN },
        ],
        0,
      ),
    ).toEqual([POLLOUT, 0]);
    tryWrite(a.raw, Uint8Array.of(1));
    expect(
      poll(
        [
          { fd: a, events: 0 },
          { fd: b, events: POLLIN },
        ],
        -1,
      ),
    ).toEqual([0, POLLIN]);
    const { raw } = closed;
    closed.close();
    expect(poll([{ fd: raw, events: POLLIN }], 0)).toEqual([POLLNVAL]);
    b.close();
    expect((poll([{ fd: a, events: POLLIN }], 0)[0] as number) & POLLHUP).toBe(POLLHUP);
    a.close();
    expect(poll([], 0)).toEqual([]);
  });
});

it("a no-op handler interrupts a worker that is blocked in epoll_wait", async () => {
  installNoopHandler(SIGURG);
  const worker = startWorker(`
    const epoll = new L.Epoll();
    parentPort.postMessage(L.gettid());
    const before = L.monotonicNs();
    const got = epoll.wait(1, -1, new Uint32Array(2));
    epoll.close();
    parentPort.postMessage(got);`);
  const tid = await message<number>(worker);
  await untilInSyscall(tid, [232, 281]);
  const answer = message<number>(worker);
  tgkill(getpid(), tid, SIGURG);
  expect(await answer).toBe(0);
  await worker.terminate();
});

it("clocks run and agree in unit", () => {
  const [a, b] = [monotonicNs(), monotonicNs()];
  expect(b >= a).toBe(true);
  expect(boottimeNs() >= b).toBe(true);
  expect(Math.abs(Number(realtimeNs() / 1_000_000n) - Date.now())).toBeLessThan(1000);
});
