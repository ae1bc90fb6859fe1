import { readFileSync, writeFileSync } from "node:fs";
import { schemaBreaks, type VmstateSchema } from "@baton/migration/vmstate";
import { describe, expect, it } from "@jest/globals";
import { machineSchema } from "./schema.js";

/** The schema of the last version that others may have: `BATON_UPDATE_SCHEMA=1` replaces it, which a release does. */
const COMMITTED = new URL("../../../etc/vmstate-schema.json", import.meta.url);

/** A line for each section. */
function bySection(schema: VmstateSchema): string {
  const lines = Object.entries(schema).map(([name, section]) => `${JSON.stringify(name)}: ${JSON.stringify(section)}`);
  return `{\n${lines.join(",\n")}\n}\n`;
}

describe("what streams consist of", () => {
  const now = machineSchema();
  if (process.env.BATON_UPDATE_SCHEMA) writeFileSync(COMMITTED, bySection(now));
  const last = JSON.parse(readFileSync(COMMITTED, "utf8")) as VmstateSchema;

  it("has all sections", () => {
    const names = Object.keys(now);
    expect(names).toEqual(
      expect.arrayContaining(["cpu", "apic", "ioapic", "i8259", "kvmclock", "serial", "globalstate"]),
    );
    expect(names.filter((name) => name.startsWith("virtio-")).length).toBeGreaterThanOrEqual(6);
  });

  it("is understood by this version where the last one wrote it", () => {
    expect(schemaBreaks(last, now)).toEqual([]);
  });

  it("is understood by the last version where this one wrote it", () => {
    expect(schemaBreaks(now, last)).toEqual([]);
  });

  it("would be missed: the comparison names what is taken away, moved or changed", () => {
    const changed = structuredClone(now) as unknown as Record<
      string,
      { Description: { Fields: { field: string; size: number }[] } }
    >;
    const fields = changed.kvmclock!.Description.Fields;
    fields[0] = { ...fields[0]!, size: 4 };
    delete changed.serial;
    expect(schemaBreaks(now, changed as unknown as VmstateSchema).map(({ path }) => path)).toEqual([
      "kvmclock/clock",
      "serial",
    ]);
  });
});
