import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { guestPath } from "@baton/guests";
import { RamBlock } from "@baton/memory";
import { type InspectedValue, inspectStream, openOutgoing, writeStream } from "@baton/migration";
import {
  array,
  bool,
  buffer,
  named,
  pointers,
  struct,
  text,
  u8,
  u16,
  u32,
  u64,
  vmstate,
} from "@baton/migration/vmstate";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { baton, killPrograms, Program } from "./support/baton.js";
import { qemuPython, qemuPythonAbsence } from "./support/qemu-python.js";
import { until } from "./support/until.js";

const run = promisify(execFile);
const absent = await qemuPythonAbsence();
const test = absent === "" ? it : it.skip;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "baton-streams-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** What QEMU's script prints of a stream, by section and field. */
async function analyze(path: string): Promise<Record<string, Record<string, unknown>>> {
  const { analyzeMigration } = await qemuPython();
  const { stdout } = await run("python3", [analyzeMigration, "-f", path], { maxBuffer: 2 ** 26 });
  return JSON.parse(stdout);
}

/** A value as the script prints it: without its type. */
function scripted(value: InspectedValue, printed: unknown, path: string): void {
  if (Array.isArray(value)) {
    // An array of one element is printed as that.
    const items = Array.isArray(printed) ? printed : [printed];
    expect([path, items.length]).toEqual([path, value.length]);
    for (const [i, item] of value.entries()) scripted(item as InspectedValue, items[i], `${path}[${i}]`);
  } else if (typeof value === "object" && value !== null) {
    expect([path, Object.keys(printed as object)]).toEqual([path, Object.keys(value)]);
    for (const [name, item] of Object.entries(value)) {
      scripted(item as InspectedValue, (printed as Record<string, unknown>)[name], `${path}/${name}`);
    }
  } else {
    expect([path, plain(value, String(printed))]).toEqual([path, String(printed)]);
  }
}

function plain(value: InspectedValue, printed: string): string {
  if (typeof value === "number" || typeof value === "bigint") {
    const bytes = /^[0-9a-f]{2}( |$)/.test(printed);
    const digits = bytes ? printed.replaceAll(" ", "").length : (printed.split(" ")[0] as string).length - 2;
    const unsigned = BigInt.asUintN(digits * 4, BigInt(value))
      .toString(16)
      .padStart(digits, "0");
    if (bytes) return spaced(unsigned);
    return value < 0 ? `0x${unsigned} (${value})` : `0x${unsigned}`;
  }
  if (value === null) return "ff ff ff ff ff ff ff ff";
  if (typeof value === "boolean") return String(value);
  if (/^[0-9a-f]*$/.test(value as string) && printed.replaceAll(" ", "") === value) return printed;
  return spaced(Buffer.from(String.fromCharCode((value as string).length) + value).toString("hex"));
}

function spaced(hex: string): string {
  return hex.replace(/..(?=.)/g, "$& ");
}

async function compare(path: string): Promise<void> {
  const [inspected, printed] = await Promise.all([inspectStream(path, { check: true }), analyze(path)]);
  const named = Object.entries(printed).map(([key, fields]) => [key.replace(/ \(\d+\)$/, ""), fields] as const);
  const [[ram, sizes], ...sections] = named as [readonly [string, unknown], ...(readonly [string, unknown])[]];
  expect([ram, sizes]).toEqual([
    "ram",
    {
      "section sizes": Object.fromEntries(
        inspected.blocks.map(({ id, size }) => [id, `0x${size.toString(16).padStart(16, "0")}`]),
      ),
    },
  ]);
  expect(sections.map(([name]) => name)).toEqual(inspected.sections.map(({ idstr }) => idstr));
  for (const [i, { idstr, fields }] of inspected.sections.entries()) {
    scripted(fields, sections[i]?.[1], idstr);
  }
}

/** Runs the ticker under QEMU until it has counted, and migrates it to a file. */
async function qemuStream(path: string): Promise<void> {
  const socket = `${path}.qmp`;
  const machine = ["-M", "microvm,acpi=off", "-accel", "kvm", "-m", "64", "-nodefaults", "-no-user-config"];
  const guest = ["-kernel", guestPath("ticker"), "-display", "none", "-serial", "stdio"];
  const qmp = ["-qmp", `unix:${socket},server=on,wait=off`];
  const qemu = new Program("qemu-system-x86_64", [...machine, ...guest, ...qmp]);
  await until(() => qemu.stdout.includes("T"), "the ticker's first mark");
  const client = createConnection(socket);
  const lines = createInterface(client)[Symbol.asyncIterator]();
  const answer = async () => {
    for (;;) {
      const { value } = await lines.next();
      const message = JSON.parse(value);
      if ("return" in message || "error" in message) return message;
    }
  };
  const ask = (execute: string, args?: object) => {
    client.write(`${JSON.stringify({ execute, ...(args ? { arguments: args } : {}) })}\n`);
    return answer();
  };
  await ask("qmp_capabilities");
  await ask("migrate", { uri: `exec:cat>${path}` });
  await until(async () => (await ask("query-migrate")).return.status === "completed", "the end of the migration");
  await ask("quit");
  await qemu.ended(15_000);
  client.destroy();
}

describeKvm(`streams and QEMU's script that prints them${absent}`, () => {
  afterAll(() => killPrograms());

  test("a stream of QEMU's is read to its last byte, with the fields that the script prints", async () => {
    const path = join(directory, "qemu");
    await qemuStream(path);
    const stream = await inspectStream(path, { check: true });
    expect(stream).toMatchObject({ machineType: "microvm", checksum: "absent", trailingBytes: 0, problems: [] });
    expect(stream.bytes).toBe((await readFile(path)).length);
    expect(stream.sections.map(({ idstr }) => idstr)).toEqual(expect.arrayContaining(["cpu", "apic", "serial"]));
    const pages = stream.blocks.reduce((sum, block) => sum + block.pages, 0);
    expect(pages).toBeGreaterThan(10);
    await compare(path);
    const shown = baton(["inspect", path]);
    expect([await shown.ended(15_000), shown.stderr]).toEqual([0, ""]);
    expect(shown.stdout).toMatch(/^machine +microvm$/m);
    expect(shown.stdout).toMatch(/^cpu\/env\.eip +0x10/m);
  });

  test("the script prints what Baton writes", async () => {
    const queue = vmstate({ name: "device/queue", version: 1, fields: { avail: named("last_avail", u16), on: bool } });
    const device = vmstate({
      name: "device",
      version: 2,
      fields: {
        id: u32,
        count: u8,
        raw: buffer(3),
        words: array("count", u64),
        queues: array(3, struct(queue)),
        one: array(1, u16),
        holes: pointers(2, u16),
        name: text,
      },
      subsections: { late: vmstate({ name: "device/late", version: 1, fields: { value: u32 } }) },
    });
    const state = {
      id: 0xdead_beef,
      count: 2,
      raw: Uint8Array.of(1, 2, 3),
      words: [1n, 2n ** 63n],
      queues: [1, 2, 3].map((avail) => ({ avail, on: avail === 2 })),
      one: [7],
      holes: [null, 5],
      name: "disk",
      late: { value: 9 },
    };
    using block = RamBlock.create({ id: "pc.ram", size: 0x10_0000n });
    using small = RamBlock.create({ id: "small.ram", size: 0x4000n });
    for (let page = 0; page < 256; page += 3) new Uint8Array(block.view(page * 4096, 4096)).fill(page + 1);
    const path = join(directory, "baton");
    const channel = await openOutgoing(`file:${path}`);
    await writeStream(channel, {
      machineType: "microvm",
      ram: [{ block: small }, { block }],
      sections: [0, 1].map((instanceId) => ({ idstr: "0000:00:01.0/device", instanceId, descriptor: device, state })),
      switchoverStart: false,
    });
    await channel.end();
    await channel.close();
    await compare(path);
    const { analyzeMigration } = await qemuPython();
    await run("python3", [analyzeMigration, "-f", path, "-d", "desc"], { cwd: directory });
    await run("python3", [analyzeMigration, "-f", path, "-x"], { cwd: directory });
    expect(await readFile(join(directory, "pc.ram"))).toEqual(Buffer.from(block.view(0, 0x10_0000).slice(0)));
    expect(await readFile(join(directory, "small.ram"))).toEqual(Buffer.alloc(0x4000));

    const same = baton(["inspect", path, path]);
    expect([await same.ended(15_000), same.stdout]).toEqual([0, "no differences\n"]);
    const other = baton(["inspect", "--json", path, join(directory, "qemu")]);
    expect(await other.ended(15_000)).toBe(1);
    expect(JSON.parse(other.stdout)).toContainEqual({ path: "0000:00:01.0/device/id", left: 0xdeadbeef });
    const checked = baton(["inspect", "--check", "--json", path]);
    expect(await checked.ended(15_000)).toBe(0);
    expect(JSON.parse(checked.stdout)).toMatchObject({ checksum: "right", problems: [] });
  });
});
