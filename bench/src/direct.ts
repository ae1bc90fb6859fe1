import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { virtioBlk } from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { runOnBaton, runOnQemu } from "./guest-run.js";
import { markdownTable, median } from "./statistics.js";

/** A file system that has direct I/O; that of /tmp need not. */
const PARENT = "/var/tmp";
const IMAGE_MIB = 512;
const CHUNK_MIB = 16;
const ROUNDS = 3;
const MODES = ["randread", "randwrite"];
/** Requests of a run by how many are in flight. */
const OPERATIONS: Readonly<Record<number, number>> = { 1: 3000, 8: 10_000, 32: 20_000, 128: 30_000 };

/** Requests of 4 KiB past the page cache: by the device's thread, through io_uring, and QEMU's through io_uring, by turns. */
export async function benchDirect(): Promise<string> {
  const directory = mkdtempSync(join(PARENT, "baton-bench-"));
  const image = join(directory, "disk.img");
  const kernel = guestPath("blkbench");
  const rows: string[][] = [];
  try {
    for (let mib = 0; mib < IMAGE_MIB; mib += CHUNK_MIB) {
      writeFileSync(image, new Uint8Array(CHUNK_MIB << 20).fill(1), { flag: "a" });
    }
    const own = (cmdline: string, aio: "threads" | "io_uring") =>
      runOnBaton({ kernel, cmdline }, (iothread) =>
        virtioBlk({ id: "disk", path: image, direct: true, aio, iothread }),
      );
    const drive = `file=${image},id=disk,if=none,format=raw,cache=none,aio=io_uring`;
    const peer = (cmdline: string) =>
      runOnQemu({ kernel, cmdline }, ["-drive", drive, "-device", "virtio-blk-device,drive=disk,iothread=io"]);
    for (const mode of MODES) {
      for (const [depth, count] of Object.entries(OPERATIONS)) {
        const cmdline = `mode=${mode} depth=${depth} block=4096 ops=${count} warmup=${count / 10}`;
        const kinds = [() => own(cmdline, "threads"), () => own(cmdline, "io_uring"), () => peer(cmdline)];
        const ms: number[][] = kinds.map(() => []);
        for (let round = 0; round < ROUNDS; round++) {
          for (const [i, run] of kinds.entries()) ms[i]?.push((await run()).ms);
        }
        const perSecond = ms.map((times) => (count / (median(times) / 1000)).toFixed(0));
        rows.push([`${mode}, depth ${depth}`, ...perSecond]);
      }
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
  return markdownTable(["4 KiB, operations/s", "threads", "io_uring", "QEMU, io_uring"], rows);
}
