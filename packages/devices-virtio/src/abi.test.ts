import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "@jest/globals";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const generator = path("../../linux/scripts/generate-abi.mjs");
const hasCompiler = spawnSync("cc", ["--version"]).status === 0;
const withCompiler = hasCompiler ? it : it.skip;

describe(`generated kernel structures${hasCompiler ? "" : " (skipped: no C compiler)"}`, () => {
  const names = readdirSync(path("../scripts/abi")).map((file) => file.replace(".mjs", ""));

  withCompiler.each(names)("%s.ts is what this machine's C compiler sees", (name) => {
    const args = [generator, path(`../scripts/abi/${name}.mjs`), path(`abi/${name}.ts`), "--check"];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });
});
