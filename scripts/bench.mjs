/** `npm run bench [-- NAME ...]`: builds, then measures Baton beside C twins and QEMU; prints tables in Markdown. */
import { join } from "node:path";
import { build, checkPlatform, ensurePrograms, installDependencies, main, root, run } from "./setup.mjs";

await main(async () => {
  checkPlatform();
  ensurePrograms({ cc: "gcc libc6-dev zlib1g-dev", "qemu-system-x86_64": "qemu-system-x86", ip: "iproute2" });
  installDependencies();
  build("@baton/bench...");
  return run(process.execPath, [join(root, "bench/dist/bench.js"), ...process.argv.slice(2)]);
});
