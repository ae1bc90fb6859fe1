import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "@jest/globals";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const generator = path("../../linux/scripts/generate-abi.mjs");
const hasCompiler = spawnSync("cc", ["--version"]).status === 0;
const withCompiler = hasCompiler ? it : it.skip;

/** The newest thing that the description asks of the kernel's headers. */
const headers = () =>
  spawnSync("cc", ["-E", "-dM", "-include", "linux/kvm.h", "-xc", "/dev/null"], { encoding: "utf8" });
const knows = (name: string) => headers().stdout.includes(`#define ${name} `);

describe(`generated KVM structures${hasCompiler ? "" : " (skipped: no C compiler)"}`, () => {
  withCompiler("are what this machine's C compiler sees", () => {
    const args = [generator, path("../scripts/abi/kvm.mjs"), path("abi/kvm.ts"), "--check"];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  withCompiler("know every capability that they name", () => {
    const names = [...readFileSync(path("abi/kvm.ts"), "utf8").matchAll(/export const (KVM_CAP_\w+)/g)];
    expect(names.length).toBeGreaterThan(40);
    const { stdout } = headers();
    expect(names.map(([, name]) => name).filter((name) => !stdout.includes(`#define ${name} `))).toEqual([]);
    expect(knows("KVM_CAP_NO_SUCH_THING")).toBe(false);
  });
});
