import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "@jest/globals";
import { built, output, runChild, startChild } from "../test/child.js";
import { POLLIN } from "./abi/event.js";
import { SIGKILL, SIGTERM, SIGURG } from "./abi/process.js";
import { eventfd } from "./eventfd.js";
import { execve } from "./execve.js";
import { getCloexec } from "./fcntl.js";
import { liveFds } from "./fd.js";
import { pidfdGetfd, pidfdOpen, pidfdSendSignal } from "./pidfd.js";
import { poll } from "./poll.js";
import {
  getpid,
  gettid,
  kill,
  schedGetaffinity,
  schedSetaffinity,
  setThreadName,
  tgkill,
  threadCount,
  umask,
  waitpid,
} from "./process.js";
import { blockSignal, installNoopHandler, unblockSignal } from "./signals.js";

afterEach(() => expect(liveFds()).toEqual([]));
const status = (field: string) =>
  new RegExp(`^${field}:\\s*(.*)$`, "m").exec(readFileSync(`/proc/self/task/${gettid()}/status`, "utf8"))?.[1];

describe("this process", () => {
  it("has ids, threads, a name, CPUs and a umask", () => {
    expect(getpid()).toBe(process.pid);
    expect(threadCount()).toBeGreaterThan(1);
    const name = status("Name") as string;
    setThreadName("baton-test");
    expect(status("Name")).toBe("baton-test");
    setThreadName(name);
    const cpus = schedGetaffinity();
    schedSetaffinity(cpus.slice(0, 1));
    expect(schedGetaffinity()).toEqual(cpus.slice(0, 1));
    schedSetaffinity(cpus);
    expect(() => schedSetaffinity([])).toThrow("EINVAL");
    const mask = umask(0o77);
    expect(umask(mask)).toBe(0o77);
  });

  it("exits at once although a worker is blocked in a system call", () => {
    const child = runChild(`
      import { Worker } from "node:worker_threads";
      const code = \`const { parentPort } = require("node:worker_threads");
        import("${built}").then((L) => { parentPort.postMessage(0); new L.Epoll().wait(1, -1, new Uint32Array(2)); });\`;
      const worker = new Worker(code, { eval: true, execArgv: [] });
      worker.on("message", () => L.exitImmediately(7));`);
    expect(child.status).toBe(7);
  });
});

describe("signals", () => {
  it("a no-op handler makes a deadly signal harmless", () => {
    const child = runChild(`L.installNoopHandler(L.SIGUSR2); L.kill(L.getpid(), L.SIGUSR2); console.log("alive");`);
    expect(child.stdout).toBe("alive\n");
  });

  it("blocks and unblocks in the calling thread", () => {
    installNoopHandler(SIGURG);
    const bit = () => (BigInt(`0x${status("SigBlk")}`) >> BigInt(SIGURG - 1)) & 1n;
    const pending = () => (BigInt(`0x${status("SigPnd")}`) >> BigInt(SIGURG - 1)) & 1n;
    blockSignal(SIGURG);
    expect(bit()).toBe(1n);
    tgkill(getpid(), gettid(), SIGURG);
    expect(pending()).toBe(1n);
    unblockSignal(SIGURG);
    expect([bit(), pending()]).toEqual([0n, 0n]);
  });

  it("refuses process groups and numbers that are no signals", () => {
    expect(() => kill(-1, 0)).toThrow("pid");
    expect(() => kill(0, 0)).toThrow("pid");
    expect(() => kill(getpid(), 65)).toThrow("signal");
    expect(() => installNoopHandler(SIGKILL)).toThrow("EINVAL");
    expect(() => tgkill(getpid(), 0x7ffffff, 0)).toThrow("ESRCH");
  });
});

describe("children", () => {
  it("waitpid tells how one ended", () => {
    const exited = spawn("sh", ["-c", "exit 7"], { stdio: "ignore" });
    expect(waitpid(exited.pid as number)).toEqual({ pid: exited.pid, kind: "exited", code: 7 });
    const killed = spawn("sleep", ["100"], { stdio: "ignore" });
    expect(waitpid(killed.pid as number, { noHang: true })).toBeNull();
    kill(killed.pid as number, SIGTERM);
    expect(waitpid(killed.pid as number)).toEqual({ pid: killed.pid, kind: "signalled", signal: SIGTERM });
    for (const child of [exited, killed]) child.unref();
    expect(() => waitpid(getpid())).toThrow("ECHILD");
  });

  it("a pidfd wakes at its end, takes signals and gives descriptors", async () => {
    const child = startChild(`console.log(L.eventfd({ initial: 5 }).raw); process.stdin.resume();`);
    const raw = Number(await output(child));
    using pidfd = pidfdOpen(child.pid as number);
    expect(poll([{ fd: pidfd, events: POLLIN }], 0)).toEqual([0]);
    using event = pidfdGetfd(pidfd, raw);
    expect(readFileSync(`/proc/self/fdinfo/${event.raw}`, "utf8")).toMatch(/eventfd-count:\s*5/);
    pidfdSendSignal(pidfd, SIGKILL);
    expect(poll([{ fd: pidfd, events: POLLIN }], 10_000)).toEqual([POLLIN]);
    await once(child, "exit");
    expect(() => pidfdSendSignal(pidfd, 0)).toThrow("ESRCH");
  });
});

describe("execve", () => {
  it("replaces the program and keeps exactly what it is told to", () => {
    const child = runChild(`
      const kept = L.memfdCreate("kept"), other = L.memfdCreate("other");
      L.writeAll(kept, Buffer.from("through exec"));
      const script = \`const fs = require("fs");
        const b = Buffer.alloc(12); fs.readSync(\${kept.raw}, b, 0, 12, 0);
        let open = true; try { fs.fstatSync(\${other.raw}); } catch { open = false; }
        console.log(b.toString(), process.pid === \${process.pid}, open, process.env.ONLY, Object.keys(process.env).length);\`;
      L.execve(process.execPath, ["node", "-e", script], { ONLY: "ü" }, { keepFds: [kept] });`);
    expect({ status: child.status, stdout: child.stdout, stderr: child.stderr }).toEqual({
      status: 0,
      stdout: "through exec true false ü 1\n",
      stderr: "",
    });
  });

  it("throws when it fails, with the descriptors as before", () => {
    using fd = eventfd();
    expect(() => execve("/nowhere", ["x"], {}, { keepFds: [fd] })).toThrow(
      "execve /nowhere: no such file or directory (ENOENT)",
    );
    expect(getCloexec(fd)).toBe(true);
    expect(() => execve("/bin/true", ["a\0"], {})).toThrow("argv[0]");
  });
});
