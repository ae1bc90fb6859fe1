import { defineConfig } from "tsup";
import { batonBuild } from "../../tsup.base.js";

export default defineConfig(
  batonBuild({
    index: "src/index.ts",
    devices: "src/devices.ts",
    service: "src/service.ts",
    handler: "src/handler.ts",
  }),
);
