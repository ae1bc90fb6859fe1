import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached } from "@baton/testbed";

const run = promisify(execFile);
const TIMEOUT_MS = 180_000;
const MIRROR = "http://deb.debian.org/debian";

/** QEMU's own client of QMP: the library in `library`, to be put in `PYTHONPATH`, and its shell; and a script of QEMU's. */
export interface QemuPython {
  readonly library: string;
  readonly shell: string;
  /** The script that prints a migration stream. */
  readonly analyzeMigration: string;
  /** The version of the source package that they are from. */
  readonly version: string;
}

/**
 * QEMU's Python library and scripts, from Debian's source package of QEMU, kept in the cache. The system's own apt
 * is left alone: sources and lists are this download's. Rejects where Debian's mirror cannot be reached.
 */
export async function qemuPython(): Promise<QemuPython> {
  const release = await readFile("/etc/os-release", "utf8");
  const suite = /^ID=debian$/m.test(release) ? /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1] : undefined;
  const directory = await cached(`qemu-python/scripts/${suite ?? "bookworm"}`, (temporary) => {
    return download(temporary, suite ?? "bookworm");
  });
  return {
    library: join(directory, "python"),
    shell: join(directory, "scripts/qmp/qmp-shell"),
    analyzeMigration: join(directory, "scripts/analyze-migration.py"),
    version: await readFile(join(directory, "version"), "utf8"),
  };
}

/** Why they cannot be had here, for a test's name; "" if they can. */
export async function qemuPythonAbsence(): Promise<string> {
  try {
    await qemuPython();
    await run("python3", ["--version"]);
    return "";
  } catch (error) {
    const reason = String((error as { stderr?: string }).stderr || error).split("\n")[0];
    return ` (skipped: QEMU's Python library cannot be had from ${MIRROR}, or Python is missing: ${reason})`;
  }
}

async function download(directory: string, suite: string): Promise<void> {
  const apt = join(directory, "apt");
  await mkdir(join(apt, "lists/partial"), { recursive: true });
  await mkdir(join(apt, "cache/archives/partial"), { recursive: true });
  const keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
  await writeFile(join(apt, "sources.list"), `deb-src [signed-by=${keys}] ${MIRROR} ${suite} main\n`);
  const options = [
    `Dir::Etc::sourcelist=${apt}/sources.list`,
    "Dir::Etc::sourceparts=-",
    `Dir::State::lists=${apt}/lists`,
    `Dir::Cache=${apt}/cache`,
    "APT::Sandbox::User=",
    "Acquire::Retries=1",
    "Acquire::http::Timeout=20",
  ].flatMap((option) => ["-o", option]);
  const here = { cwd: apt, timeout: TIMEOUT_MS };
  await run("apt-get", [...options, "--error-on=any", "update"], here);
  await run("apt-get", [...options, "source", "--download-only", "qemu"], here);
  const wanted = [
    "--strip-components=1",
    "--wildcards",
    "*/python/*",
    "*/scripts/qmp/*",
    "*/scripts/analyze-migration.py",
  ];
  await run("sh", ["-c", 'exec tar -xf ./*.orig.tar.xz -C "$0" "$@"', directory, ...wanted], here);
  const { stdout } = await run("sh", ["-c", "sed -n 's/^Version: //p' ./*.dsc | head -n1"], here);
  await writeFile(join(directory, "version"), stdout.trim());
  await run("rm", ["-r", apt]);
}
