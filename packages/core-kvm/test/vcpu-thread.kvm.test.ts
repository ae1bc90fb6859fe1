import { readdirSync } from "node:fs";
import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { Bus } from "../src/bus/bus.js";
import { threadPool } from "../src/thread-pool/thread-pool.js";
import { VcpuGroup } from "../src/vcpu-thread/vcpu-group.js";
import { VcpuThread } from "../src/vcpu-thread/vcpu-thread.js";
import { getRegisters } from "../src/x86/state.js";
import { TestMachine, until } from "./support/kvm.js";

const HLT = 0xf4;
/** `inc eax; jmp $-2` and more of it, without an exit. */
const SPIN = [0x66, 0x40, 0xeb, 0xfc];
/** `out 0x42, al; jmp $-2`. */
const OUT = [0xe6, 0x42, 0xeb, 0xfc];
const KICKS = rounds({ quick: 500, full: 500 });

/** Fails instead of waiting for ever for a kick that was lost. */
async function within<T>(work: Promise<T>, what: string, timeoutMs = 5000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${timeoutMs} ms`)), timeoutMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

describeKvm("a vCPU's thread", () => {
  it(`is stopped by each of ${KICKS} kicks, while it computes and while it exits`, async () => {
    for (const code of [SPIN, OUT]) {
      using machine = new TestMachine(code);
      const { vcpu, vm, memory } = machine;
      const thread = await VcpuThread.start({ vcpu, bus: new Bus(), memory });
      for (let i = 0; i < KICKS; i++) {
        thread.resume();
        // At different moments: before it has entered the guest, and well within.
        if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        await within(thread.requestPause(), `pause ${i}`);
      }
      expect(thread.running).toBe(false);
      const { rip } = getRegisters(vcpu);
      expect(rip - 0x1000n).toBeLessThan(BigInt(code.length));
      expect(getRegisters(vcpu).rip).toBe(rip);
      await thread.close();
      expect(vm.vcpus.length).toBe(1);
    }
  });

  it("notices a resume and a pause that follow the last pause at once", async () => {
    using machine = new TestMachine(SPIN);
    const thread = await VcpuThread.start({ vcpu: machine.vcpu, bus: new Bus(), memory: machine.memory });
    thread.resume();
    let slowest = 0;
    for (let i = 0; i < KICKS; i++) {
      await within(thread.requestPause(), `pause ${i}`);
      thread.resume();
      const asked = performance.now();
      await within(thread.requestPause(), `pause ${i} again`);
      slowest = Math.max(slowest, performance.now() - asked);
      thread.resume();
    }
    // A paused thread looks after a second by itself: whoever waits for that has not been woken.
    expect(slowest).toBeLessThan(900);
    await thread.close();
  });

  it("can be closed and paused again after its VM is gone", async () => {
    const machine = new TestMachine(SPIN);
    const thread = await VcpuThread.start({ vcpu: machine.vcpu, bus: new Bus(), memory: machine.memory });
    thread.resume();
    await thread.close();
    machine[Symbol.dispose]();
    await within(thread.requestPause(), "the pause");
    await within(thread.close(), "the end");
  });

  it("answers pauses that overlap, and runs on after the last resume", async () => {
    using machine = new TestMachine(SPIN);
    const thread = await VcpuThread.start({ vcpu: machine.vcpu, bus: new Bus(), memory: machine.memory });
    thread.resume();
    await within(Promise.all([thread.requestPause(), thread.requestPause(), thread.requestPause()]), "all pauses");
    const before = getRegisters(machine.vcpu).rax;
    thread.resume();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await within(thread.requestPause(), "the pause");
    expect(getRegisters(machine.vcpu).rax).not.toBe(before);
    await thread.close();
  });

  it("reports what no device handles, paused at that instruction, and counts", async () => {
    using machine = new TestMachine([0xe6, 0x42, 0xe6, 0x43, HLT]);
    const { vcpu, memory } = machine;
    const thread = await VcpuThread.start({ vcpu, bus: new Bus(), memory });
    const exit = new Promise((resolve) => thread.once("exit", resolve));
    thread.resume();
    expect(await within(exit, "the exit")).toEqual({ reason: "hlt" });
    await within(thread.requestPause(), "the pause");
    expect(thread.statistics).toMatchObject({ pioExits: 2, unclaimedAccesses: 2, mmioExits: 0, forwardedExits: 0 });
    const { exits, exitsByReason, kicks } = thread.statistics;
    const counted = Object.entries(exitsByReason).filter(([, count]) => count > 0);
    expect(counted).toEqual([
      ["io-out", 2],
      ["interrupted", kicks],
      ["hlt", 1],
    ]);
    expect([exits, kicks > 0]).toEqual([3, true]);
    expect(thread.stopPoint).toBe("other");
    await thread.close();
    await thread.close();
  });

  it("goes back to the pool, and is used again", async () => {
    await threadPool.drain();
    const threads = new Set<number>();
    const count = () => readdirSync("/proc/self/task").length;
    let settled = 0;
    for (let i = 0; i < 10; i++) {
      using machine = new TestMachine(SPIN);
      const group = await VcpuGroup.start(machine.vm, new Bus(), machine.memory);
      group.resume();
      await group.pause();
      threads.add(group.threads[0]?.tid as number);
      await group.close();
      if (i === 2) settled = count();
    }
    expect(threads.size).toBe(1);
    // A thread of earlier tests may still have been on its way out.
    expect(count()).toBeLessThanOrEqual(settled);
    expect(threadPool.size).toEqual({ idle: 1, busy: 0 });
    await threadPool.drain();
    await until(() => threadPool.size.idle === 0, "an empty pool");
  });

  it("answers the embedder's devices with the widths and values of the guest", async () => {
    // mov dx, 0x600; mov eax, 0x12345678; out dx, eax; in al, dx; mov [0], al; hlt
    const guest = [0xba, 0x00, 0x06, 0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, 0x66, 0xef, 0xec, 0xa2, 0x00, 0x00, HLT];
    using machine = new TestMachine(guest);
    const bus = new Bus();
    const seen: unknown[] = [];
    bus.add({
      name: "port",
      ranges: [{ space: "pio", base: 0x600n, length: 4, offset: 0x10 }],
      handler: {
        thread: "embedder",
        handler: {
          read: async (offset, size) => {
            seen.push(["read", offset, size]);
            return 0x1ab;
          },
          write: async (offset, size, value) => void seen.push(["write", offset, size, value]),
        },
      },
    });
    const thread = await VcpuThread.start({ vcpu: machine.vcpu, bus, memory: machine.memory });
    const exit = new Promise((resolve) => thread.once("exit", resolve));
    thread.resume();
    await within(exit, "the end of the guest");
    expect(seen).toEqual([
      ["write", 0x10, 4, 0x12345678],
      ["read", 0x10, 1],
    ]);
    expect(machine.memory.readU8(0x10000n)).toBe(0xab);
    await thread.close();
  });
});
