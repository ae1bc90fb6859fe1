import { defineConfig } from "tsup";
import { batonBuild } from "../../tsup.base.js";

export default defineConfig(batonBuild({ vmstate: "src/vmstate/index.ts", protobuf: "src/protobuf/index.ts" }));
