import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "@jest/globals";

const scripts = fileURLToPath(new URL("../scripts", import.meta.url));
const abi = fileURLToPath(new URL("abi", import.meta.url));
const generate = (...args: string[]) =>
  spawnSync(process.execPath, [join(scripts, "generate-abi.mjs"), ...args], { encoding: "utf8" });
const hasCompiler = spawnSync("cc", ["--version"]).status === 0;
const withCompiler = hasCompiler ? it : it.skip;

describe(`generated kernel structures${hasCompiler ? "" : " (skipped: no C compiler)"}`, () => {
  const names = readdirSync(join(scripts, "abi")).map((file) => file.replace(".mjs", ""));

  it("has a description for every generated file", () => {
    expect(readdirSync(abi).sort()).toEqual(names.map((name) => `${name}.ts`).sort());
  });

  for (const name of names) {
    withCompiler(`${name}.ts is what this machine's C compiler sees`, () => {
      const { status, stderr } = generate(join(scripts, "abi", `${name}.mjs`), join(abi, `${name}.ts`), "--check");
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    });
  }

  withCompiler("--check fails where a value differs", () => {
    const changed = join(tmpdir(), `baton-abi-${process.pid}.ts`);
    writeFileSync(changed, readFileSync(join(abi, "event.ts"), "utf8").replace("size: 12", "size: 16"));
    expect(generate(join(scripts, "abi", "event.mjs"), changed, "--check").status).toBe(1);
    rmSync(changed);
  });

  withCompiler("names what the headers lack", () => {
    const spec = join(tmpdir(), `baton-spec-${process.pid}.json`);
    writeFileSync(spec, JSON.stringify({ includes: ["errno.h"], constants: ["ENOSUCHTHING"] }));
    const { status, stderr } = generate(spec, "/dev/null");
    expect(status).not.toBe(0);
    expect(stderr).toContain("ENOSUCHTHING");
    rmSync(spec);
  });
});
