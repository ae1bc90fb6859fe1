import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, jest, test } from "@jest/globals";
import { rounds } from "../../test/rounds.js";
import { ensureTestbed, runInTestbed } from "../src/index.js";

const count = rounds({ quick: 2, full: 10 });
jest.setTimeout(120_000 + count * 30_000);

describe("the testbed", () => {
  beforeAll(async () => {
    await ensureTestbed();
  }, 600_000);

  test.each([false, true])(`${count} empty runs in a row all end well (from a saved state: %p)`, async (warm) => {
    for (let round = 0; round < count; round++) {
      const run = await runInTestbed({ command: ":", timeoutMs: 60_000, warm });
      expect(run).toMatchObject({ ok: true, ending: "done", exitCode: 0, wedged: false, attempts: 1 });
    }
  });

  test("node, koffi and /dev/kvm work inside", async () => {
    const script = fileURLToPath(new URL("check-kvm.cjs", import.meta.url));
    const run = await runInTestbed({ files: [{ path: "check-kvm.cjs", from: script }], command: "node check-kvm.cjs" });
    expect(run.tap.tests).toMatchObject([{ ok: true, name: "KVM_GET_API_VERSION answers 12" }]);
    expect(run.ok).toBe(true);
  });

  test("a failing test inside is reported as failed, with its diagnostics", async () => {
    const tap = [
      "TAP version 13",
      "ok 1 - this one passes",
      "not ok 2 - this one fails",
      "  ---",
      "  message: 'expected 1, got 2'",
      "  ...",
      "ok 3 - this one is left out # SKIP no such device",
      "1..3",
    ].join("\n");
    const run = await runInTestbed({
      files: [{ path: "out", from: Buffer.from(tap) }],
      command: "cat out; echo; exit 1",
    });
    expect(run).toMatchObject({ ok: false, ending: "done", exitCode: 1, wedged: false, attempts: 1 });
    expect(run.tap.tests).toMatchObject([
      { ok: true },
      { ok: false, name: "this one fails" },
      { ok: true, skip: "no such device" },
    ]);
    expect(run.tap.tests[1]?.diagnostics).toContain("expected 1, got 2");
  });

  test("a hang inside is reported as a time-out, not as a wedged testbed", async () => {
    const run = await runInTestbed({ command: "while :; do :; done", timeoutMs: 15_000, silenceMs: 10_000 });
    expect(run).toMatchObject({ ok: false, ending: "timeout", exitCode: undefined, wedged: false, attempts: 1 });
  });

  test("a testbed that dies or falls silent is reported as wedged, and started twice", async () => {
    const log: string[] = [];
    const options = { log: (line: string) => void log.push(line), timeoutMs: 60_000, silenceMs: 5_000 };
    const died = await runInTestbed({ ...options, silenceMs: 30_000, command: "echo c >/proc/sysrq-trigger" });
    expect(died).toMatchObject({ ok: false, ending: "died", wedged: true, attempts: 2 });
    const silent = await runInTestbed({ ...options, command: "kill -STOP -1; kill -STOP $$; sleep 60" });
    expect(silent).toMatchObject({ ok: false, ending: "wedged", wedged: true, attempts: 2 });
    expect(log).toHaveLength(4);
  });

  test("an artefact comes back byte-exact, and files go in with their names and modes", async () => {
    const content = randomBytes(3_000_001);
    const long = `${"deep/".repeat(40)}file`;
    const run = await runInTestbed({
      files: [
        { path: "in/data", from: content },
        { path: `in/${long}`, from: Buffer.from("x") },
        { path: "/opt/script", from: Buffer.from("#!/bin/sh\necho $GREETING\n"), mode: 0o755 },
      ],
      command: "cp -r in out && /opt/script >/tmp/greeting",
      env: { GREETING: "it's me" },
      artefacts: ["out", "/tmp/greeting", "absent"],
    });
    expect(run.exitCode).toBe(0);
    expect([...run.artefacts.keys()].sort()).toEqual(["/tmp/greeting", "out/data", `out/${long}`]);
    expect(run.artefacts.get("out/data")?.equals(content)).toBe(true);
    expect(run.artefacts.get("/tmp/greeting")?.toString()).toBe("it's me\n");
  });
});
