/** `npm run demo`: installs and builds what the demo needs, then runs it; without usable KVM, inside the testbed. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { build, checkPlatform, installDependencies, main, root, run } from "./setup.mjs";

/** What `baton demo` returns where KVM cannot be used. */
const NO_KVM = 4;

await main(async () => {
  checkPlatform();
  console.log("Installing dependencies ...");
  installDependencies();
  console.log("Building ...");
  build("@baton/reference-vmm...");
  const code = await run(process.execPath, [join(root, "examples/reference-vmm/dist/baton.js"), "demo"]);
  if (code !== NO_KVM) return code;
  const qemu = spawnSync("sh", ["-c", "command -v qemu-system-x86_64"]).status === 0;
  if (!qemu && process.getuid?.() !== 0) {
    console.log(
      "With QEMU (apt-get install qemu-system-x86 busybox-static) the demo runs in an emulated machine instead.",
    );
    return code;
  }
  console.log("\nRunning the same demo in an emulated machine that has KVM (this takes a minute or two) ...\n");
  build("@baton/testbed...");
  return run(process.execPath, [join(root, "scripts/demo-in-testbed.mjs")]);
});
