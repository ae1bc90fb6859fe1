import { defineConfig } from "tsup";
import { batonBuild } from "../../tsup.base.js";

export default defineConfig(
  batonBuild({
    index: "src/index.ts",
    baton: "src/cli/baton.ts",
    platform: "src/platform/handlers.ts",
    qmp: "src/qmp.ts",
    "qmp-socket": "src/surface/qmp/socket-service.ts",
    chardev: "src/backend/chardev/service.ts",
  }),
);
