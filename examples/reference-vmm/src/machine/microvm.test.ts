import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CpuTopology, cpuPlace } from "@baton/core-kvm";
import { afterAll, describe, expect, it } from "@jest/globals";
import { createPlatformMemory, microvmAcpi, platformDevices } from "./microvm.js";

const hasIasl = spawnSync("iasl", ["-v"]).status === 0;
const withIasl = hasIasl ? it : it.skip;
const directory = mkdtempSync(join(tmpdir(), "baton-acpi-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const machines: readonly (readonly [name: string, vcpus: number, topology: CpuTopology, serial: boolean])[] = [
  ["one vCPU", 1, { sockets: 1, dies: 1, cores: 1, threads: 1 }, true],
  ["no serial port", 1, { sockets: 1, dies: 1, cores: 1, threads: 1 }, false],
  ["three of twelve vCPUs with gaps in their APIC ids", 3, { sockets: 2, dies: 1, cores: 3, threads: 2 }, true],
  ["APIC ids beyond 254", 4, { sockets: 100, dies: 1, cores: 1, threads: 3 }, true],
];

/** The machine's tables by signature. */
function tables(vcpus: number, topology: CpuTopology, serial: boolean): Record<string, Uint8Array> {
  const { dsdt, fadt, others } = microvmAcpi({ vcpus, topology, serial });
  const all = [dsdt, fadt(0xe0040n), ...others];
  return Object.fromEntries(all.map((table) => [Buffer.from(table.subarray(0, 4)).toString(), table]));
}

/** Runs ACPICA's disassembler, or its compiler on what that has made; gives what it complains about. */
function iasl(...args: string[]): { readonly output: string; readonly complaints: readonly string[] } {
  const { stdout, stderr } = spawnSync("iasl", args, { cwd: directory, encoding: "utf8" });
  const output = `${stdout}${stderr}`;
  return { output, complaints: output.split("\n").filter((line) => /error|warning|invalid|AE_/i.test(line)) };
}

describe("the microvm's ACPI tables", () => {
  it.each(machines)("have the right checksums (%s)", (_, vcpus, topology, serial) => {
    const all = tables(vcpus, topology, serial);
    expect(Object.keys(all)).toEqual(["DSDT", "FACP", "APIC"]);
    for (const table of Object.values(all)) {
      expect(table.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
      expect(Buffer.from(table).readUInt32LE(4)).toBe(table.length);
    }
  });

  it.each(machines)("list every place for a vCPU, the present ones enabled (%s)", (_, vcpus, topology, serial) => {
    const madt = Buffer.from(tables(vcpus, topology, serial).APIC as Uint8Array);
    const cpus: { readonly apicId: number; readonly flags: number }[] = [];
    for (let at = 44; at < madt.length; at += madt.readUInt8(at + 1)) {
      const type = madt.readUInt8(at);
      if (type === 0) cpus.push({ apicId: madt.readUInt8(at + 3), flags: madt.readUInt32LE(at + 4) });
      if (type === 9) cpus.push({ apicId: madt.readUInt32LE(at + 4), flags: madt.readUInt32LE(at + 8) });
    }
    const places = topology.sockets * topology.dies * topology.cores * topology.threads;
    expect(cpus).toEqual(
      Array.from({ length: places }, (_, i) => ({ apicId: cpuPlace(topology, i).apicId, flags: i < vcpus ? 1 : 2 })),
    );
  });

  for (const [name, vcpus, topology, serial] of machines) {
    withIasl(`are understood by ACPICA${hasIasl ? "" : " (skipped: there is no iasl)"} (${name})`, () => {
      for (const [signature, table] of Object.entries(tables(vcpus, topology, serial))) {
        const file = `${signature.toLowerCase()}.aml`;
        writeFileSync(join(directory, file), table);
        const { output, complaints } = iasl("-d", file);
        expect({ signature, complaints }).toEqual({ signature, complaints: [] });
        expect(output).toMatch(/Parsing completed|decoded/);
      }
      const source = readFileSync(join(directory, "dsdt.dsl"), "utf8");
      expect(source).toMatch(/Device \(PWRB\)/);
      expect(source).toMatch(/Name \(\\_S5, Package/);
      expect(/Device \(COM1\)/.test(source)).toBe(serial);
      // What it has taken apart it also puts together again, with no complaint about what the objects mean.
      const { complaints } = iasl("-oa", "-p", "again", "dsdt.dsl");
      expect(complaints.filter((line) => !/^Compilation .* 0 Errors, 0 Warnings/.test(line))).toEqual([]);
      const ours = Buffer.from(tables(vcpus, topology, serial).DSDT as Uint8Array).subarray(36);
      expect(readFileSync(join(directory, "again.aml")).subarray(36).equals(ours)).toBe(true);
    });
  }
});

describe("the microvm's devices", () => {
  it("have a serial port only where a console is given", () => {
    const names = (uart: Parameters<typeof platformDevices>[1]) =>
      platformDevices(createPlatformMemory(), uart).map((device) => device.name);
    expect(names(null)).toEqual(["i8042", "rtc", "debug-exit", "pvpanic", "ged"]);
    expect(names({ policy: "wait", outputFd: -1, inputFd: -1 })).toContain("serial0");
  });
});
