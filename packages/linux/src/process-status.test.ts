import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "@jest/globals";
import { getpid, gettid, processStartTime, residentBytes, threadTime } from "./index.js";

describe("the status of processes and threads", () => {
  it("tells what a thread has worked, which only grows", () => {
    const tid = gettid();
    const before = threadTime(tid);
    const cpuBefore = process.cpuUsage();
    // Work that a count bounds, not a clock.
    let sum = 0;
    for (let i = 0; i < 50_000_000; i++) sum = (sum + i * 7) % 1_000_003;
    expect(sum).toBeGreaterThan(0);
    const cpu = process.cpuUsage(cpuBefore);
    const after = threadTime(tid);
    expect(after.totalNs).toBeGreaterThan(before.totalNs);
    expect((after.totalNs - before.totalNs) / 1000).toBeLessThan(cpu.user + cpu.system + 20_000);
    expect(after.guestNs).toBe(before.guestNs);
  });

  it("knows no thread that there is not", () => {
    expect(() => threadTime(0x7fffffff)).toThrow(expect.objectContaining({ code: "THREAD_GONE" }));
    expect(() => threadTime(0)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("tells when a process was started, and nothing of one that has ended", async () => {
    expect(processStartTime(getpid())).toBe(processStartTime(getpid()));
    const child = spawn("cat", { stdio: ["pipe", "ignore", "ignore"] });
    const pid = child.pid as number;
    const started = processStartTime(pid) as bigint;
    expect(started).toBeGreaterThanOrEqual(processStartTime(getpid()) as bigint);
    child.stdin.end();
    await new Promise((resolve) => child.once("close", resolve));
    expect(processStartTime(pid)).not.toBe(started);
    expect(processStartTime(0x7fffffff)).toBeUndefined();
  });

  it("tells how much of this process is in RAM", () => {
    const pages = Number(readFileSync("/proc/self/statm", "latin1").split(" ")[1]);
    expect(residentBytes() / 4096).toBeGreaterThan(pages / 2);
    expect(residentBytes() / 4096).toBeLessThan(pages * 2);
  });
});
