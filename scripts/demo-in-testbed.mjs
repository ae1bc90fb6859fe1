/** The demo inside the testbed, for machines without usable KVM. */
import { runInTestbed, workspaceFiles } from "../testbed/dist/index.js";

const result = await runInTestbed({
  files: workspaceFiles("@baton/reference-vmm"),
  command: "node node_modules/@baton/reference-vmm/dist/baton.js demo",
  onLine: (line) => console.log(line),
});
if (result.ending !== "done") console.log(`The emulated machine ended early (${result.ending}).`);
process.exit(result.exitCode ?? 1);
