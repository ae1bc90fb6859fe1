/** Inside the testbed: Debian's kernel boots, is reset, powered down and panics on Baton. */
import assert from "node:assert/strict";
import { LinuxVm } from "./linux-vm.mjs";
import { done, test } from "./tap.mjs";

for (const kernel of ["bzImage", "vmlinux"]) {
  for (const vcpus of [1, 4]) {
    await test(`${kernel} with ${vcpus} vCPUs reaches user space and powers off`, async () => {
      const guest = await new LinuxVm({ kernel, vcpus, words: "baton.test=report baton.then=poweroff" }).create();
      try {
        await guest.vm.start();
        const outcome = await guest.vm.wait({ signal: AbortSignal.timeout(90_000) });
        assert.deepEqual(outcome, { reason: "shutdown", cause: "guest-shutdown" });
        const reports = guest.reports();
        assert.ok(reports.length >= 3, `${reports.length} reports in: ${guest.output}`);
        for (const report of reports) {
          assert.equal(report.cpus, vcpus);
          assert.ok(report.memKiB > 200_000 && report.memKiB <= 262_144, `memory ${report.memKiB} KiB`);
        }
        assert.ok(reports.at(-1).uptime > reports[0].uptime, "uptime stands still");
        assert.ok(reports.at(-1).timeNs > reports[0].timeNs, "time stands still");
        assert.ok(
          guest.events.some((event) => event.type === "shutdown" && event.guest && event.reason === "guest-shutdown"),
        );
        assert.doesNotMatch(guest.output, /BATON BAD/);
      } finally {
        await guest.vm.close();
      }
    });
  }
}

await test("a guest that reboots is reset, and boots again", async () => {
  const guest = await new LinuxVm({ words: "baton.test=report baton.count=1 baton.then=reboot" }).create();
  try {
    await guest.vm.start();
    await guest.until(() => guest.reports().length >= 2, "the second boot", 120_000);
    assert.ok(guest.events.some((event) => event.type === "reset" && event.guest && event.reason === "guest-reset"));
    assert.equal(guest.vm.runState, "running");
  } finally {
    await guest.vm.close();
  }
});

await test("a reset from outside boots the guest again", async () => {
  const guest = await new LinuxVm({ vcpus: 2, words: "baton.test=report baton.count=1 baton.then=wait" }).create();
  try {
    await guest.vm.start();
    await guest.until(() => guest.reports().length >= 1, "the first boot");
    await guest.vm.reset();
    await guest.until(() => guest.reports().length >= 2, "the second boot");
    assert.equal(guest.reports()[1].cpus, 2);
    assert.ok(guest.events.some((event) => event.type === "reset" && !event.guest));
  } finally {
    await guest.vm.close();
  }
});

await test("the power button powers the guest down", async () => {
  const guest = await new LinuxVm({ words: "baton.modules=button,evdev baton.test=script" }).create();
  try {
    await guest.vm.start();
    await guest.until(() => guest.output.includes("WAITING FOR THE BUTTON"), "the guest's readiness");
    await guest.vm.powerdown();
    const outcome = await guest.vm.wait({ signal: AbortSignal.timeout(30_000) });
    assert.deepEqual(outcome, { reason: "shutdown", cause: "guest-shutdown" });
    assert.ok(guest.events.some((event) => event.type === "powerdown"));
  } finally {
    await guest.vm.close();
  }
});

await test("a panic becomes an event and pauses the VM", async () => {
  const words = "baton.modules=pvpanic,pvpanic_mmio baton.count=1 baton.then=panic";
  const guest = await new LinuxVm({ words }).create();
  try {
    await guest.vm.start();
    const outcome = await guest.vm.wait({ signal: AbortSignal.timeout(60_000) });
    assert.equal(outcome.reason, "panic");
    assert.ok(guest.events.some((event) => event.type === "guest-panicked" && event.action === "pause"));
    assert.equal(guest.vm.runState, "guest-panicked");
  } finally {
    await guest.vm.close();
  }
});
done();
