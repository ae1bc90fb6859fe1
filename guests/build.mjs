// Builds the guests: `node build.mjs [OUT]` writes OUT/*.elf (default: images/). Needs as and ld (binutils), and gcc for
// those in C, a folder each in virtio/; `node build.mjs OUT as` leaves these out.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = process.argv[2] ?? join(here, "images");
const temporary = mkdtempSync(join(tmpdir(), "baton-guests-"));

function run(program, words) {
  execFileSync(program, words, { stdio: "inherit" });
}

function assemble(source, name) {
  const object = join(temporary, `${name}.o`);
  run("as", ["--64", "-I", join(here, "lib"), "-o", object, source]);
  return object;
}

function compile(folder) {
  const sources = readdirSync(folder).filter((name) => name.endsWith(".c"));
  // An interrupt of CPL3 writes below its stack pointer, and no handler saves vector registers.
  const machine = ["-O2", "-ffreestanding", "-mgeneral-regs-only", "-mno-red-zone", "-fno-pic", "-fno-pie"];
  const plain = ["-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-fno-ident"];
  const apart = ["-fno-strict-aliasing", "-ffunction-sections", "-fdata-sections"];
  // The stack has no guard page.
  const strict = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wframe-larger-than=2048"];
  return sources.map((name) => {
    const object = join(temporary, `${basename(folder)}-${basename(name, ".c")}.o`);
    const paths = ["-I", join(here, "virtio", "lib"), "-c", "-o", object, join(folder, name)];
    run("gcc", [...machine, ...plain, ...apart, ...strict, ...paths]);
    return object;
  });
}

function link(name, objects) {
  const image = join(out, `${name}.elf`);
  const kind = ["-nostdlib", "-static", "-n", "-s", "--build-id=none", "--gc-sections"];
  const quiet = ["-z", "noexecstack", "--no-warn-rwx-segments"];
  run("ld", [...kind, ...quiet, "-T", join(here, "lib", "guest.ld"), "-o", image, ...objects]);
  chmodSync(image, 0o644);
}

mkdirSync(out, { recursive: true });
try {
  for (const source of readdirSync(here).filter((name) => name.endsWith(".S"))) {
    const name = basename(source, ".S");
    link(name, [assemble(join(here, source), name)]);
  }
  if (process.argv[3] !== "as") {
    const virtio = join(here, "virtio");
    // The first object holds the entry.
    const library = [assemble(join(virtio, "lib", "start.S"), "start"), ...compile(join(virtio, "lib"))];
    for (const entry of readdirSync(virtio, { withFileTypes: true })) {
      if (!entry.isDirectory() || entry.name === "lib") continue;
      link(entry.name, [...library, ...compile(join(virtio, entry.name))]);
    }
  }
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
