import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { baton, END_TIMEOUT_MS, killPrograms, Program, Scratch, tickerGuest } from "./support/baton.js";
import { qemuPython, qemuPythonAbsence } from "./support/qemu-python.js";

const CLIENT_TIMEOUT_MS = 30_000;
const absent = await qemuPythonAbsence();
const scratch = new Scratch();

describeKvm(`QMP with clients of QEMU's own${absent}`, () => {
  let vm: Program;
  let path: string;
  let vms = 0;

  beforeEach(() => {
    path = scratch.at(`qmp-${++vms}.sock`);
    vm = baton([...tickerGuest, "-name", "demo", "-serial", "null", "-qmp", `unix:${path},server,nowait`]);
  });

  afterEach(() => killPrograms());
  afterAll(() => scratch.remove());

  /** Runs a Python program of or with QEMU's library, which waits for the socket. */
  async function python(args: readonly string[], input = ""): Promise<string> {
    const { library } = await qemuPython();
    const wait = 'while [ ! -S "$0" ]; do sleep 0.05; done; exec python3 "$@"';
    const env = { ...process.env, PYTHONPATH: library, PYTHONDONTWRITEBYTECODE: "1", HOME: scratch.path };
    const client = new Program("sh", ["-c", wait, path, ...args], { env });
    client.child.stdin?.end(input);
    expect([await client.ended(CLIENT_TIMEOUT_MS), client.stderr]).toEqual([0, ""]);
    return client.stdout;
  }

  const test = absent === "" ? it : it.skip;

  test("the library: ids, pipelining, errors, events in between, quit", async () => {
    const count = rounds({ quick: 10, full: 500 });
    const script = fileURLToPath(new URL("./support/qmp-client.py", import.meta.url));
    const result = JSON.parse(await python([script, path, String(count)]));
    expect(result).toEqual({
      greeting: { QMP: { version: { qemu: expect.any(Object), package: expect.any(String) }, capabilities: [] } },
      states: Array.from({ length: count }, () => [null, "paused", null, "running"]).flat(),
      listed: expect.arrayContaining(["human-monitor-command", "query-status", "quit"]),
      text: "VM status: running\r\n",
      errors: {
        nope: ["CommandNotFound", "The command nope has not been found"],
        set_link: ["DeviceNotFound", "Device 'net9' not found"],
        "query-balloon": ["DeviceNotActive", "No balloon device has been activated"],
        stop: ["GenericError", "Parameter 'now' is unexpected"],
      },
      ids: true,
      events: Array.from({ length: count }, () => ["STOP", "RESUME"]).flat(),
    });
    expect(await vm.ended(END_TIMEOUT_MS)).toBe(0);
  });

  test("qmp-shell: commands in its own words, and the session goes on after errors", async () => {
    const { shell } = await qemuPython();
    const lines = ["query-name", "stop", "query-status", "nope", "set_link name=net9 up=true", "cont", "query-status"];
    const shown = await python([shell, path], lines.map((line) => `${line}\n`).join(""));
    const answers = [...shown.matchAll(/^(?:\(QEMU\) )?(\{.*\})$/gm)].map(([, json]) => JSON.parse(json as string));
    expect(answers.filter((answer) => !("event" in answer))).toEqual([
      { return: { name: "demo" } },
      { return: {} },
      { return: { status: "paused", running: false, singlestep: false } },
      { error: { class: "CommandNotFound", desc: "The command nope has not been found" } },
      { error: { class: "DeviceNotFound", desc: "Device 'net9' not found" } },
      { return: {} },
      { return: { status: "running", running: true, singlestep: false } },
    ]);
    expect(vm.end).toBeUndefined();
  });

  test("qmp-shell's monitor mode", async () => {
    const { shell } = await qemuPython();
    const shown = await python(
      [shell, "-H", path],
      "info name\ninfo status\nxp /1xw 0x100000\nnope\nhelp quit\nquit\n",
    );
    for (const text of [
      /^\(QEMU\) demo\r?$/m,
      /VM status: running/,
      /0000000000100000: 0x[0-9a-f]{8}/,
      /unknown command: 'nope'/,
      /quit\|q {2}-- quit the emulator/,
    ]) {
      expect(shown).toMatch(text);
    }
    expect(await vm.ended(END_TIMEOUT_MS)).toBe(0);
  });
});
