import { defineConfig } from "tsup";
import { batonBuild } from "../tsup.base.js";

export default defineConfig(
  batonBuild({
    bench: "src/bench.ts",
    device: "src/device.ts",
    floor: "src/floor.ts",
    "first-byte": "src/first-byte.ts",
  }),
);
