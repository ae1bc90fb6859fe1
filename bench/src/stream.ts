import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RamBlock } from "@baton/memory";
import { type Channel, listenIncoming, openIncoming, openOutgoing, readStream, writeStream } from "@baton/migration";
import { compiled } from "./compile.js";
import { markdownTable } from "./statistics.js";

/** `BATON_STREAM_MIB` and `BATON_STREAM_DIRECTORY` change what is moved and where the file is. */
const MIB = Number(process.env.BATON_STREAM_MIB ?? 1024);
/** By turns. The best counts: where the host takes back what is free, any of them may have to wait for its pages. */
const REPEATS = 7;
/** So many bytes with content, then so many without. */
const RUN = 64 * 1024;

function newRam(filled: boolean): RamBlock {
  const block = RamBlock.create({ id: "pc.ram", size: BigInt(MIB) << 20n });
  for (let at = 0; filled && at < MIB * 2 ** 20; at += 2 * RUN) {
    const words = new Uint32Array(block.view(at, RUN));
    for (let i = 0; i < words.length; i++) words[i] = Math.imul(at / 4 + i, 2654435761) | 1;
  }
  return block;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

const contents = (block: RamBlock) => ({ machineType: "bench", ram: [{ block }], sections: [] });
const save = (channel: Channel, block: RamBlock) => timed(() => writeStream(channel, contents(block)));
const load = (channel: Channel, block: RamBlock) => timed(() => readStream(channel, contents(block)));

async function throughFile(path: string, source: RamBlock): Promise<[number, number]> {
  const write = await openOutgoing(`file:${path}`);
  const written = await save(write, source);
  await write.end();
  await write.close();
  using target = newRam(false);
  const read = await openIncoming(`file:${path}`);
  const loaded = await load(read, target);
  await read.close();
  rmSync(path);
  return [written, loaded];
}

async function throughSocket(path: string, source: RamBlock): Promise<number> {
  await using listener = await listenIncoming(`unix:${path}`);
  const [write, read] = await Promise.all([openOutgoing(listener.address), listener.accept()]);
  using target = newRam(false);
  const [, loaded] = await Promise.all([save(write, source), load(read, target)]);
  await Promise.all([write.close(), read.close()]);
  return loaded;
}

function twin(...args: readonly string[]): number[] {
  const output = execFileSync(compiled("stream-twin", ["-lz"]), [...args, String(MIB)], { encoding: "utf8" });
  return output
    .trim()
    .split("\n")
    .map((ns) => Number(ns) / 1e6);
}

/**
 * RAM of which every second run of 64 KiB is zero, written to and read from a file, and through a UNIX socket, against C.
 * The source has all its pages before, the target none.
 */
export async function benchStream(): Promise<string> {
  const directory = mkdtempSync(join(process.env.BATON_STREAM_DIRECTORY ?? tmpdir(), "baton-stream-"));
  using source = newRam(true);
  await source.prefault();
  const own: number[][] = [[], [], []];
  const peer: number[][] = [[], [], []];
  const add = (to: number[][], values: readonly number[]) => {
    for (const [i, value] of values.entries()) to[i]?.push(value);
  };
  for (let i = 0; i < REPEATS; i++) {
    const file = join(directory, "stream");
    add(own, [...(await throughFile(file, source)), await throughSocket(join(directory, "socket"), source)]);
    add(peer, [...twin("file", file), ...twin("unix", "-")]);
  }
  rmSync(directory, { recursive: true });
  const rows = ["write a file", "read a file", "through a UNIX socket"].map((what, i) => {
    const [a, b] = [Math.min(...(own[i] as number[])), Math.min(...(peer[i] as number[]))];
    const speed = (ms: number) => ((MIB / ms) * (1000 / 1024)).toFixed(2);
    return [what, speed(a), speed(b), `${(b / a).toFixed(2)} x`];
  });
  return markdownTable([`GiB of RAM a second, ${MIB} MiB, half zero pages`, "Baton", "C", "Baton / C"], rows);
}
