import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { virtioBlk } from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { compare } from "./compare.js";
import { type GuestRun, runOnBaton, runOnQemu } from "./guest-run.js";
import { markdownTable } from "./statistics.js";

const IMAGE_MIB = 64;
const ROUNDS = 3;
const DEPTHS = [1, 8, 32, 128];
const MODES = ["randread", "randwrite", "seqread", "seqwrite"];
/** Requests of a run: fewer where each waits for the one before. */
const OPERATIONS: Readonly<Record<number, number>> = { 1: 20_000, 8: 60_000, 32: 120_000, 128: 120_000 };

/** Requests of 4 KiB on a raw image in the page cache, on Baton and on QEMU with an iothread, by turns. */
export async function benchBlock(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "baton-bench-"));
  const image = join(directory, "disk.img");
  writeFileSync(image, new Uint8Array(IMAGE_MIB << 20).fill(1));
  const kernel = guestPath("blkbench");
  const rows: (readonly string[])[] = [];
  try {
    for (const mode of MODES) {
      for (const depth of DEPTHS) {
        const count = OPERATIONS[depth] as number;
        const cmdline = `mode=${mode} depth=${depth} block=4096 ops=${count} warmup=${count / 10}`;
        const own: GuestRun[] = [];
        const peer: GuestRun[] = [];
        for (let round = 0; round < ROUNDS; round++) {
          own.push(
            await runOnBaton({ kernel, cmdline }, (iothread) => virtioBlk({ id: "disk", path: image, iothread })),
          );
          const drive = `file=${image},id=disk,if=none,format=raw`;
          peer.push(
            await runOnQemu({ kernel, cmdline }, [
              "-drive",
              drive,
              "-device",
              "virtio-blk-device,drive=disk,iothread=io",
            ]),
          );
        }
        rows.push(compare(`${mode}, depth ${depth}`, count, own, peer));
      }
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
  return markdownTable(
    ["4 KiB", "Baton, operations/s", "QEMU, operations/s", "ratio", "Baton, µs CPU each", "QEMU, µs CPU each"],
    rows,
  );
}
