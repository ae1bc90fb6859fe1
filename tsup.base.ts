import type { Options } from "tsup";

/** The one build recipe: ESM for Node 20, with declarations and source maps, shared chunks split out. */
export function batonBuild(entry: Record<string, string>): Options {
  return {
    entry,
    format: ["esm"],
    target: "node20",
    platform: "node",
    dts: { compilerOptions: { ignoreDeprecations: "6.0", noEmit: false } },
    sourcemap: true,
    clean: true,
    splitting: true,
  };
}
