import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { threadPool } from "@baton/core-kvm";
import { guestPath, tickerCmdline } from "@baton/guests";
import { liveFds } from "@baton/linux";
import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, customDevice, serial, type TimedVmEvent, type VmConfig } from "../src/index.js";
import { pvhProgram, readPortForEver, SPIN } from "./support/machine-code.js";
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
    expect((await vm.saveState()).vcpus[0]?.registers.rax).toBe(0x5an);
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

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/**
 * Open descriptors, threads and mappings of this process, after a garbage collection. V8 maps and unmaps its heap as it
 * likes: mappings with a name (files, memfds, vCPUs) are counted apart from the rest.
 */
function footprint() {
  for (let i = 0; i < 4; i++) collectGarbage();
  const maps = readFileSync("/proc/self/maps", "utf8").trim().split("\n");
  const pss = Number(/^Pss:\s+(\d+)/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))?.[1]);
  const named = maps.filter((line) => / [/[]\S/.test(line)).length;
  const count = (path: string) => readdirSync(path).length;
  return { fds: count("/proc/self/fd"), threads: count("/proc/self/task"), named, anonymous: maps.length - named, pss };
}

describeKvm("many VMs, one after the other", () => {
  it("leave no descriptor, thread or mapping behind", async () => {
    const count = rounds({ quick: 60, full: 1000 });
    const settle = Math.min(100, count / 2);
    let farewells = 0;
    let settled: ReturnType<typeof footprint> | undefined;
    for (let run = 1; run <= count; run++) {
      let output = "";
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
      if (output.includes("Goodbye")) farewells++;
      if (run === settle) settled = footprint();
    }
    if (settled === undefined) throw new Error("no run");
    const after = footprint();
    console.log(`${count} VMs: ${JSON.stringify({ settled, after })}, pool ${JSON.stringify(threadPool.size)}`);
    expect(farewells).toBe(count);
    expect({ fds: after.fds, threads: after.threads, named: after.named }).toEqual({
      fds: settled.fds,
      threads: settled.threads,
      named: settled.named,
    });
    if (process.env.BATON_SOAK) {
      expect(after.anonymous).toBeLessThanOrEqual(settled.anonymous);
      expect(after.pss / settled.pss).toBeLessThan(1.02);
    }
  }, 900_000);
});
