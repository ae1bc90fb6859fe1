import { describe, expect, test } from "@jest/globals";
import { fakeContext } from "../surface/qmp/testing/fake-vm.js";
import { defineCommand } from "./command.js";
import { CommandTable } from "./command-table.js";
import { eventTable, monitorEvent } from "./event-table.js";
import type { SchemaInfo } from "./introspection.js";
import { nothing } from "./schema.js";
import { commandTable } from "./table.js";

const call = { signal: new AbortController().signal, afterReply: () => {} };
const run = (name: string, options = {}, args = {}) => commandTable.execute(fakeContext(options), name, args, call);

describe("the command table", () => {
  test("lists its commands sorted, each once", async () => {
    const listed = (await run("query-commands")) as { name: string }[];
    expect(listed.map(({ name }) => name)).toEqual([
      "add-fd",
      "balloon",
      "block_resize",
      "blockdev-add",
      "blockdev-del",
      "closefd",
      "cont",
      "device_add",
      "device_del",
      "getfd",
      "human-monitor-command",
      ...["migrate", "migrate-incoming", "migrate-set-capabilities", "migrate-set-parameters", "migrate_cancel"],
      "netdev_add",
      "netdev_del",
      "pmemsave",
      "qmp_capabilities",
      "query-balloon",
      "query-block",
      "query-blockstats",
      "query-chardev",
      "query-commands",
      "query-cpus",
      "query-cpus-fast",
      "query-hotpluggable-cpus",
      "query-iothreads",
      "query-kvm",
      ...["query-migrate", "query-migrate-capabilities", "query-migrate-parameters"],
      "query-name",
      "query-qmp-schema",
      "query-rx-filter",
      "query-stats",
      "query-stats-schemas",
      "query-status",
      "query-version",
      "quit",
      "remove-fd",
      "set_link",
      "stop",
      "system_powerdown",
      "system_reset",
    ]);
    const twice = defineCommand({ name: "x", doc: "", arguments: {}, returns: nothing, handler: () => ({}) });
    expect(() => new CommandTable([twice, twice])).toThrow("same name");
  });

  test("refuses unknown commands and arguments", async () => {
    await expect(run("nope")).rejects.toMatchObject({
      code: "COMMAND_NOT_FOUND",
      message: "The command nope has not been found",
    });
    await expect(run("toString")).rejects.toMatchObject({ code: "COMMAND_NOT_FOUND" });
    await expect(run("stop", {}, { bogus: 1 })).rejects.toThrow("Parameter 'bogus' is unexpected");
    await expect(run("qmp_capabilities", {}, { enable: "oob" })).rejects.toThrow("expected: array");
  });

  test("query-cpus gives each vCPU its place and its thread", async () => {
    expect(await run("query-cpus")).toEqual([
      {
        CPU: 0,
        arch: "x86",
        current: true,
        halted: false,
        props: { "core-id": 0, "socket-id": 0, "thread-id": 0 },
        qom_path: "/machine/unattached/device[0]",
        thread_id: 1000,
      },
      {
        CPU: 1,
        arch: "x86",
        current: true,
        halted: false,
        props: { "core-id": 0, "socket-id": 1, "thread-id": 0 },
        qom_path: "/machine/unattached/device[1]",
        thread_id: 1001,
      },
    ]);
    expect(await run("query-cpus-fast", { vcpus: 1 })).toEqual([
      {
        "cpu-index": 0,
        "qom-path": "/machine/unattached/device[0]",
        "thread-id": 1000,
        props: { "core-id": 0, "socket-id": 0, "thread-id": 0 },
        target: "x86_64",
      },
    ]);
  });

  test("query-hotpluggable-cpus lists all places; only vCPUs that are online have a path", async () => {
    const topology = { sockets: 1, dies: 2, cores: 1, threads: 2 };
    const places = (await run("query-hotpluggable-cpus", { vcpus: 3, topology })) as Record<string, unknown>[];
    expect(places.map((place) => place.props)).toEqual([
      { "socket-id": 0, "die-id": 0, "core-id": 0, "thread-id": 0 },
      { "socket-id": 0, "die-id": 0, "core-id": 0, "thread-id": 1 },
      { "socket-id": 0, "die-id": 1, "core-id": 0, "thread-id": 0 },
      { "socket-id": 0, "die-id": 1, "core-id": 0, "thread-id": 1 },
    ]);
    expect(places.map((place) => place["qom-path"] ?? null)).toEqual([
      "/machine/unattached/device[0]",
      "/machine/unattached/device[1]",
      "/machine/unattached/device[2]",
      null,
    ]);
    for (const place of places) expect(place).toMatchObject({ type: "host-x86-cpu", "vcpus-count": 1 });
  });

  test("query-name, query-kvm and query-version", async () => {
    expect(await run("query-name")).toEqual({});
    expect(await run("query-name", { name: "web" })).toEqual({ name: "web" });
    expect(await run("query-kvm")).toEqual({ enabled: true, present: true });
    const { version } = await import("./version.js");
    expect(await run("query-version")).toEqual(version);
  });

  test("query-qmp-schema describes every command and event, and each type that one names", async () => {
    const infos = (await run("query-qmp-schema")) as SchemaInfo[];
    const names = infos.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const of = (kind: string) => infos.filter((info) => info["meta-type"] === kind).map(({ name }) => name);
    expect(of("command")).toEqual(commandTable.machineCommands.map(({ name }) => name));
    expect(of("event")).toEqual([
      ...[
        "BALLOON_CHANGED",
        "BLOCK_IO_ERROR",
        "DEVICE_DELETED",
        "DEVICE_NEEDS_RESET",
        "GUEST_PANICKED",
        "MIGRATION",
        "MIGRATION_PASS",
        "POWERDOWN",
        "RESET",
        "RESUME",
      ],
      ...["SHUTDOWN", "STOP", "VSERPORT_CHANGE"],
    ]);
    const used = infos.flatMap((info) => [
      ...[info["arg-type"], info["ret-type"], info["element-type"]].filter((type) => type !== undefined),
      ...((info["meta-type"] === "object" ? info.members : []) as { type: string }[]).map(({ type }) => type),
    ]);
    expect(used.filter((type) => !names.includes(type as string))).toEqual([]);
    const stop = infos.find(({ name }) => name === "stop");
    expect(stop).toEqual({
      name: "stop",
      "meta-type": "command",
      "arg-type": "0",
      "ret-type": "0",
      "allow-oob": false,
    });
    const capabilities = infos.find(({ name }) => name === "qmp_capabilities");
    const members = infos.find(({ name }) => name === capabilities?.["arg-type"])?.members;
    expect(members).toEqual([{ name: "enable", type: expect.stringMatching(/^\[\d+\]$/), default: null }]);
  });
});

describe("events", () => {
  const at = { timestampUs: 1_583_908_726_162_739 };
  const timestamp = { seconds: 1_583_908_726, microseconds: 162_739 };

  test("carry the time and what QEMU's carry", () => {
    expect(monitorEvent({ type: "stop", ...at })).toEqual({ event: "STOP", data: {}, timestamp });
    expect(monitorEvent({ type: "resume", ...at })).toEqual({ event: "RESUME", data: {}, timestamp });
    expect(monitorEvent({ type: "powerdown", ...at })).toEqual({ event: "POWERDOWN", data: {}, timestamp });
    expect(monitorEvent({ type: "shutdown", guest: true, reason: "guest-shutdown", ...at })).toEqual({
      event: "SHUTDOWN",
      data: { guest: true, reason: "guest-shutdown" },
      timestamp,
    });
    expect(monitorEvent({ type: "reset", guest: true, reason: "guest-reset", ...at })).toMatchObject({
      event: "RESET",
      data: { guest: true, reason: "guest-reset" },
    });
    expect(monitorEvent({ type: "guest-panicked", action: "pause", ...at })).toMatchObject({
      event: "GUEST_PANICKED",
      data: { action: "pause" },
    });
    expect(monitorEvent({ type: "run-state", from: "paused", to: "running", ...at })).toBeNull();
  });

  test("each has a description", () => {
    expect(eventTable.map(({ doc }) => doc)).not.toContain("");
  });
});
