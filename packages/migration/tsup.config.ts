import { defineConfig } from "tsup";
import { batonBuild } from "../../tsup.base.js";

export default defineConfig(
  batonBuild({
    index: "src/index.ts",
    vmstate: "src/vmstate/index.ts",
    protobuf: "src/protobuf/index.ts",
    worker: "src/worker.ts",
  }),
);
