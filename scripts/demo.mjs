/** `npm run demo`: installs and builds what the demo needs, then runs it. */
import { join } from "node:path";
import { build, checkPlatform, installDependencies, main, root, run } from "./setup.mjs";

await main(async () => {
  checkPlatform();
  console.log("Installing dependencies ...");
  installDependencies();
  console.log("Building ...");
  build("@baton/reference-vmm...");
  return run(process.execPath, [join(root, "examples/reference-vmm/dist/baton.js"), "demo"]);
});
