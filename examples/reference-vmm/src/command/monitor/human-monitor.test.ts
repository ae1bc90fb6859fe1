import { describe, expect, test } from "@jest/globals";
import { fakeContext } from "../../surface/qmp/testing/fake-vm.js";
import type { LogControl } from "../command.js";
import { commandTable } from "../table.js";
import { monitorState } from "./form.js";
import { HumanMonitor } from "./human-monitor.js";

const monitor = new HumanMonitor(commandTable);
const signal = new AbortController().signal;

function client(context = fakeContext({ name: "web" })) {
  const state = monitorState();
  return (line: string) => monitor.execute(context, line, { signal, afterReply: () => {}, monitor: state });
}

describe("HumanMonitor", () => {
  test("answers in QEMU's words", async () => {
    const ask = client();
    expect(await ask("info status")).toBe("VM status: running\n");
    expect(await ask(" stop ")).toBe("");
    expect(await ask("info status")).toBe("VM status: paused\n");
    expect(await ask("c")).toBe("");
    expect(await ask("info name")).toBe("web\n");
    expect(await ask("info kvm")).toBe("kvm support: enabled\n");
    expect(await ask("info version")).toMatch(/^\d+\.\d+\.\d+baton-\d+\.\d+\.\d+\n$/);
    expect(await ask("info cpus")).toBe("* CPU #0: thread_id=1000\n  CPU #1: thread_id=1001\n");
    expect(await ask("info balloon")).toBe("Error: No balloon device has been activated\n");
    expect(await ask("set_link net0 off")).toBe("Error: Device 'net0' not found\n");
    expect(await ask("")).toBe("");
  });

  test("each client has a vCPU of its own", async () => {
    const context = fakeContext();
    const [one, other] = [client(context), client(context)];
    expect(await one("cpu 1")).toBe("");
    expect(await one("info cpus")).toMatch(/^ {2}CPU #0.*\n\* CPU #1/);
    expect(await other("info cpus")).toMatch(/^\* CPU #0/);
    expect(await one("cpu 2")).toBe("Error: invalid CPU index '2'\n");
    expect(await one("cpu -1")).toBe("Error: invalid CPU index '-1'\n");
  });

  test.each([
    ["foo", "unknown command: 'foo'\n"],
    ["info foo", "unknown command: 'info foo'\n"],
    ["query-status", "unknown command: 'query-status'\n"],
    ["toString", "unknown command: 'toString'\n"],
    ["stop now", 'stop|s: extraneous characters at the end of line\nTry "help stop" for more information\n'],
    ["set_link", 'set_link: name expected\nTry "help set_link" for more information\n'],
    ["set_link n", 'set_link: up expected\nTry "help set_link" for more information\n'],
    ["set_link n maybe", "Expected 'on' or 'off'\nTry \"help set_link\" for more information\n"],
    ['set_link "n', 'unterminated string\nTry "help set_link" for more information\n'],
    ['set_link "\\q" on', "unsupported escape code: '\\q'\nTry \"help set_link\" for more information\n"],
    ['set_link "a \\"b\\"" on', "Error: Device 'a \"b\"' not found\n"],
    ["balloon 3x", "Error: balloon: value=3x is not a size; Write a number with K, M, G or T, such as 512M\n"],
    ["balloon 99999999999T", 'balloon: value is too large\nTry "help balloon" for more information\n'],
    ["x /4z 0", "invalid char in format: 'z'\nTry \"help x\" for more information\n"],
    ["log info", "Error: There is no log to choose for\n"],
    ["help nope", "unknown command: 'nope'\n"],
    ["help stop", "stop|s  -- stop emulation\n"],
    ["? info block", "info block  -- show info of all block devices\n"],
  ])("%s", async (line, text) => {
    expect(await client()(line)).toBe(text);
  });

  test("help lists commands, info and help info list topics", async () => {
    const ask = client();
    const topics = await ask("info");
    expect(await ask("help info")).toBe(topics);
    const names = (text: string) => text.split("\n").map((line) => /^(info )?[^ |]*/.exec(line)?.[0]);
    expect(names(topics)).toEqual([
      ...[
        "balloon",
        "block",
        "blockstats",
        "chardev",
        "cpus",
        "kvm",
        ...["migrate", "migrate_capabilities", "migrate_parameters"],
        "mtree",
        "name",
        "network",
        "qtree",
        "status",
      ].map((topic) => `info ${topic}`),
      "info version",
      "",
    ]);
    expect(names(await ask("help"))).toEqual([
      ...["balloon", "cont", "cpu", "device_add", "device_del", "drive_add", "drive_del", "help", "info [subcommand]"],
      ...["log", "migrate", "migrate_cancel", "migrate_incoming", "migrate_set_capability", "migrate_set_parameter"],
      ...["netdev_add", "netdev_del", "pmemsave", "quit", "set_link", "stop", "system_powerdown", "system_reset"],
      ...["x", "xp", ""],
    ]);
  });

  test("log chooses what is written", async () => {
    const chosen: (readonly string[])[] = [];
    const log: LogControl = { items: { warn: "w", info: "i" }, choose: (items) => chosen.push(items) };
    const ask = client({ ...fakeContext(), log });
    expect(await ask("log warn,info")).toBe("");
    expect(await ask("log none")).toBe("");
    expect(chosen).toEqual([["warn", "info"], []]);
    const items =
      "Log items (comma separated):\nnone            remove all logs\nwarn            w\ninfo            i\n";
    expect(await ask("log nope")).toBe(items);
    expect(await ask("help log")).toBe(items);
    expect(chosen).toHaveLength(2);
  });

  test("QMP's human-monitor-command gives the text, and failures as text", async () => {
    const run = (args: Record<string, unknown>) =>
      commandTable.execute(fakeContext(), "human-monitor-command", args, { signal, afterReply: () => {} });
    expect(await run({ "command-line": "info status" })).toBe("VM status: running\r\n");
    expect(await run({ "command-line": "nope" })).toBe("unknown command: 'nope'\r\n");
    expect(await run({ "command-line": "info cpus", "cpu-index": 1 })).toMatch(/\n\* CPU #1/);
    expect(await run({ "command-line": "" })).toBe("");
    await expect(run({ "command-line": "info cpus", "cpu-index": 2 })).rejects.toMatchObject({
      code: "CPU_UNKNOWN",
      message: "Parameter 'cpu-index' expects a CPU number",
    });
  });

  test("what is for people alone cannot be called by programs", async () => {
    const call = { signal, afterReply: () => {} };
    for (const name of ["x", "help", "info qtree"]) {
      await expect(commandTable.execute(fakeContext(), name, {}, call)).rejects.toMatchObject({
        code: "COMMAND_NOT_FOUND",
      });
    }
  });
});
