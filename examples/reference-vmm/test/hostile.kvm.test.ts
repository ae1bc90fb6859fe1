import { guestPath } from "@baton/guests";
import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { createVm, serial, type VmConfig, type VmOutcome } from "../src/index.js";

/** Every page of the device hole in soak, every 16th else: each is two exits. */
const MMIO_STEP = process.env.BATON_SOAK ? 1 : 16;

interface Run {
  readonly outcome: VmOutcome | undefined;
  readonly output: string;
  readonly events: readonly string[];
  readonly state: string;
}

/** Runs the hostile guest in a mode until it ends, or for a while; then the VM must still pause and close. */
async function runHostile(
  cmdline: string,
  options: { readonly policy?: VmConfig["policy"]; readonly timeoutMs?: number } = {},
): Promise<Run> {
  let output = "";
  const events: string[] = [];
  await using vm = await createVm({
    memory: { sizeMiB: 64 },
    boot: { kernel: guestPath("hostile"), cmdline },
    devices: [serial({ onOutput: (bytes) => (output += Buffer.from(bytes).toString("latin1")) })],
    ...(options.policy && { policy: options.policy }),
  });
  vm.onEvent((event) => events.push(event.type));
  await vm.start();
  const signal = AbortSignal.timeout(options.timeoutMs ?? 60_000);
  const outcome = await vm.wait({ signal }).catch(() => undefined);
  if (vm.runState === "running") await vm.pause();
  return { outcome, output, events, state: vm.runState };
}

describeKvm("a hostile guest", () => {
  it("that triple-faults is reset, or ends the VM where resets do", async () => {
    const run = await runHostile("mode=triple", { policy: { onReset: "shutdown" } });
    expect(run.outcome).toEqual({ reason: "shutdown", cause: "guest-reset" });
    const again = await runHostile("mode=triple", { timeoutMs: 1500 });
    expect(again.events.filter((type) => type === "reset").length).toBeGreaterThan(1);
  });

  it.each([0, 3])("that executes garbage at level %i ends in a state that is told", async (level) => {
    const run = await runHostile(`mode=garbage${level} rounds=20`, {
      timeoutMs: 5000,
      policy: { onReset: "shutdown" },
    });
    expect(["running", "paused", "shutdown", "internal-error"]).toContain(run.state);
    if (run.state === "internal-error") expect(run.outcome?.error?.code).toBe("GUEST_EXIT");
  });

  it("that reads and writes every port but the panic device goes on to its end", async () => {
    const run = await runHostile("mode=ports step=1 skip=0x505");
    expect(run.output).toContain("hostile: done");
    expect(run.outcome).toMatchObject({ reason: "debug-exit", exitCode: 33 });
  });

  it("that reads and writes a register in the pages of the device hole goes on to its end", async () => {
    const run = await runHostile(`mode=mmio step=${MMIO_STEP}`, { timeoutMs: 240_000 });
    expect(run.output).toContain("hostile: done");
    expect(run.outcome).toMatchObject({ reason: "debug-exit", exitCode: 33 });
  }, 300_000);

  it("that halts for ever can be paused and closed", async () => {
    const run = await runHostile("mode=halt", { timeoutMs: 500 });
    expect(run.outcome).toBeUndefined();
    expect(run.state).toBe("paused");
  });
});
