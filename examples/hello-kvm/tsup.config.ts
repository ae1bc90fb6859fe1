import { defineConfig } from "tsup";
import { batonBuild } from "../../tsup.base.js";

export default defineConfig(batonBuild({ "hello-kvm": "src/hello-kvm.ts" }));
