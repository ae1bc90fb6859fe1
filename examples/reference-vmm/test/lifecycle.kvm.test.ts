import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { threadPool } from "@baton/core-kvm";
import { guestPath, tickerCmdline } from "@baton/guests";
import { liveFds } from "@baton/linux";
import { expect, it } from "@jest/globals";
import { createVm, customDevice, serial, type TimedVmEvent, type VmConfig } from "../src/index.js";
import { describeKvm } from "./support/kvm.js";
import { pvhProgram, readPortForEver, SPIN } from "./support/machine-code.js";
import { rounds } from "./support/rounds.js";
import { tickerWord } from "./support/ticker.js";

const PORT = 0x600;
const handlers = new URL("./support/handlers.mjs", import.meta.url).href;

function program(code: readonly number[], devices: VmConfig["devices"] = []): VmConfig {
  return { memory: { sizeMiB: 16 }, boot: { kernel: pvhProgram(code) }, devices };
}

const portDevice = (handler: Parameters<typeof customDevice>[0]["handler"]) =>
  customDevice({ name: "test-port", ranges: [{ space: "pio", base: BigInt(PORT), length: 4 }], handler });

async function until(condition: () => boolean, what: string, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come within ${timeoutMs} ms`);
    await delay(5);
  }
}

describeKvm("the lifecycle of a VM", () => {
  it("starts in prelaunch, runs, pauses, resumes, and tells each change by an event", async () => {
    await using vm = await createVm(program(SPIN));
    const events: string[] = [];
    vm.onEvent((event) => events.push(event.type));
    expect(vm.runState).toBe("prelaunch");
    await vm.start();
    expect(vm.runState).toBe("running");
    await vm.pause();
    await vm.pause();
    expect(vm.runState).toBe("paused");
    await vm.resume();
    await vm.resume();
    expect(events.filter((type) => type !== "run-state")).toEqual(["resume", "stop", "resume"]);
  });

  it("streams events until it is closed, and ends waits", async () => {
    const vm = await createVm(program(SPIN));
    const seen: TimedVmEvent[] = [];
    const stream = (async () => {
      for await (const event of vm.events()) seen.push(event);
    })();
    await vm.start();
    await vm.pause();
    const outcome = vm.wait();
    await vm.close();
    await vm.close();
    await stream;
    expect(seen.map((event) => event.type)).toEqual(["run-state", "resume", "run-state", "stop"]);
    expect(await outcome).toEqual({ reason: "closed" });
    await expect(vm.resume()).rejects.toMatchObject({ code: "VM_CLOSED" });
  });

  it("undoes a creation that is aborted and rejects with the signal's reason", async () => {
    const before = liveFds().length;
    const reason = new Error("changed my mind");
    await expect(createVm(program(SPIN), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(liveFds().length).toBe(before);
  });

  it("goes on while the embedder's thread is busy for two seconds", async () => {
    await using vm = await createVm({
      memory: { sizeMiB: 96 },
      boot: { kernel: guestPath("ticker"), cmdline: tickerCmdline({ rate: 100, dot: 0 }) },
    });
    await vm.start();
    await until(() => tickerWord(vm.machine.memory, "TICKS") > 3, "the ticker's start");
    const before = tickerWord(vm.machine.memory, "TICKS");
    const end = performance.now() + 2000;
    while (performance.now() < end);
    expect(tickerWord(vm.machine.memory, "TICKS") - before).toBeGreaterThan(100);
    expect(tickerWord(vm.machine.memory, "BAD")).toBe(0);
  });

  it("fails a pause against a handler that never answers, naming it, and lets the guest run on", async () => {
    let answer: (value: number) => void = () => {};
    let asked = 0;
    const handler = {
      read: () => {
        asked++;
        return new Promise<number>((resolve) => {
          answer = resolve;
        });
      },
      write: () => {},
    };
    await using vm = await createVm(program(readPortForEver(PORT), [portDevice({ thread: "embedder", handler })]));
    await vm.start();
    await until(() => asked === 1, "the first access");
    await expect(vm.pause({ timeoutMs: 100 })).rejects.toMatchObject({
      code: "PAUSE_TIMEOUT",
      message: expect.stringMatching(/test-port.*pio 0x600/),
    });
    expect(vm.runState).toBe("running");
    answer(1);
    await until(() => asked === 2, "the guest's next access");
    const paused = vm.pause({ timeoutMs: 5000 });
    answer(2);
    await paused;
    expect(vm.runState).toBe("paused");
  });

  it("closes although a handler never answers", async () => {
    let asked = false;
    const read = () => {
      asked = true;
      return new Promise<number>(() => {});
    };
    const device = portDevice({ thread: "embedder", handler: { read, write: () => {} } });
    const vm = await createVm(program(readPortForEver(PORT), [device]));
    await vm.start();
    await until(() => asked, "the access");
    await vm.close();
  });

  it.each(["vcpu", "device"] as const)("answers accesses in the %s thread", async (thread) => {
    const shared = new SharedArrayBuffer(4);
    const device = portDevice({ thread, module: handlers, factory: "counting", shared });
    await using vm = await createVm(program(readPortForEver(PORT), [device]));
    await vm.start();
    await until(() => Atomics.load(new Int32Array(shared), 0) > 100, "a hundred accesses");
    await vm.pause();
    expect(vm.saveState().vcpus[0]?.registers.rax).toBe(0x5an);
  });

  it.each(["vcpu", "device", "embedder"] as const)(
    "stops with internal-error when a handler in the %s thread throws",
    async (thread) => {
      const broken = () => {
        throw new Error("this handler is broken");
      };
      const handler =
        thread === "embedder"
          ? ({ thread, handler: { read: broken, write: broken } } as const)
          : ({ thread, module: handlers, factory: "throwing", shared: new SharedArrayBuffer(4) } as const);
      await using vm = await createVm(program(readPortForEver(PORT), [portDevice(handler)]));
      await vm.start();
      const outcome = await vm.wait({ signal: AbortSignal.timeout(5000) });
      expect(outcome).toMatchObject({ reason: "internal-error", error: { code: "DEVICE_HANDLER_FAILED" } });
      expect(outcome.error?.message).toContain("this handler is broken");
      expect(vm.runState).toBe("internal-error");
      await expect(vm.resume()).rejects.toMatchObject({ code: "RESET_REQUIRED" });
    },
  );

  it("stops with internal-error when the kernel of a reset guest is gone", async () => {
    const directory = mkdtempSync(join(tmpdir(), "baton-reset-"));
    const kernel = join(directory, "kernel");
    writeFileSync(kernel, pvhProgram(SPIN));
    await using vm = await createVm({ memory: { sizeMiB: 16 }, boot: { kernel } });
    await vm.start();
    rmSync(directory, { recursive: true });
    await expect(vm.reset()).rejects.toMatchObject({ code: "KERNEL_NOT_READABLE" });
    expect(vm.runState).toBe("internal-error");
  });

  it("refuses a handler's module that does not exist, and leaves nothing behind", async () => {
    const before = liveFds().length;
    const device = portDevice({
      thread: "vcpu",
      module: "file:///nowhere.mjs",
      factory: "x",
      shared: new SharedArrayBuffer(4),
    });
    await expect(createVm(program(SPIN, [device]))).rejects.toThrow(/nowhere/);
    expect(liveFds().length).toBe(before);
  });
});

/** Open descriptors, threads and mappings of this process. */
function footprint() {
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  const pss = Number(/^Pss:\s+(\d+)/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))?.[1]);
  return {
    fds: readdirSync("/proc/self/fd").length,
    threads: readdirSync("/proc/self/task").length,
    maps: maps.length,
    pss,
  };
}

describeKvm("many VMs, one after the other", () => {
  it("leave no descriptor, thread or mapping behind", async () => {
    const count = rounds({ quick: 60, full: 1000 });
    const settle = Math.min(100, count / 2);
    let output = "";
    let settled: ReturnType<typeof footprint> | undefined;
    for (let run = 1; run <= count; run++) {
      await using vm = await createVm({
        memory: { sizeMiB: 16 },
        boot: { kernel: guestPath("hello"), cmdline: "primes=100" },
        devices: [serial({ onOutput: (bytes) => (output += Buffer.from(bytes).toString("latin1")) })],
      });
      await vm.start();
      expect(await vm.wait({ signal: AbortSignal.timeout(10_000) })).toMatchObject({
        reason: "debug-exit",
        exitCode: 33,
      });
      await vm.close();
      if (run === settle) settled = footprint();
    }
    if (settled === undefined) throw new Error("no run");
    const { pss: pssBefore, ...before } = settled;
    const { pss, ...after } = footprint();
    console.log(
      `${count} VMs: ${JSON.stringify({ before: settled, after: { ...after, pss } })}, pool ${JSON.stringify(threadPool.size)}`,
    );
    expect(output.match(/Goodbye/g)?.length).toBe(count);
    expect(after.fds).toBe(before.fds);
    expect(after.threads).toBe(before.threads);
    if (process.env.BATON_SOAK) {
      expect(after.maps).toBe(before.maps);
      expect(pss / pssBefore).toBeLessThan(1.02);
    }
  }, 900_000);
});
