// Assembles and links the guests: `node build.mjs [OUT]` writes OUT/*.elf (default: images/). Needs as and ld (binutils).
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = process.argv[2] ?? join(here, "images");
const temporary = mkdtempSync(join(tmpdir(), "baton-guests-"));
mkdirSync(out, { recursive: true });
try {
  for (const source of readdirSync(here).filter((name) => name.endsWith(".S"))) {
    const name = basename(source, ".S");
    const object = join(temporary, `${name}.o`);
    const image = join(out, `${name}.elf`);
    const linking = [
      "-nostdlib",
      "-static",
      "-n",
      "-s",
      "--build-id=none",
      "-z",
      "noexecstack",
      "--no-warn-rwx-segments",
    ];
    execFileSync("as", ["--64", "-I", join(here, "lib"), "-o", object, join(here, source)], { stdio: "inherit" });
    execFileSync("ld", [...linking, "-T", join(here, "lib", "guest.ld"), "-o", image, object], { stdio: "inherit" });
    chmodSync(image, 0o644);
  }
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
