/** `npm run bench [-- NAME ...]`: builds, then measures Baton beside the C twin; prints tables in Markdown. */
import { join } from "node:path";
import { build, checkPlatform, ensurePrograms, installDependencies, main, root, run } from "./setup.mjs";

await main(async () => {
  checkPlatform();
  ensurePrograms({ cc: "gcc libc6-dev" });
  installDependencies();
  build("@baton/bench...");
  return run(process.execPath, [join(root, "bench/dist/bench.js"), ...process.argv.slice(2)]);
});
