import { describe, expect, test } from "@jest/globals";
import {
  blkbenchCmdline,
  netbenchCmdline,
  parseBlkbench,
  parseNetbench,
  parseVirthostile,
  parseVirtioAgreements,
  parseVirtloadCounters,
  parseVirtloadFindings,
  parseVirtloadSummary,
  virthostileCmdline,
  virtioMmioWords,
  virtloadCmdline,
  virtloadStreamByte,
} from "../src/index.js";

const agreement =
  "virtio blk base=0xf0100000 line=5 offered=0x530006e44 agreed=0x130000004 ring=split indirect=1 event=0 inorder=0 size=256\n";

describe("command lines of the guests with virtio drivers", () => {
  test("have what was given, and nothing else", () => {
    expect(blkbenchCmdline({ mode: "randread", depth: 8, ring: "packed", irq: 0 })).toBe(
      "mode=randread depth=8 ring=packed irq=0",
    );
    expect(netbenchCmdline({ role: "tx", gso: 1 })).toBe("role=tx gso=1");
    expect(virtloadCmdline({})).toBe("");
    expect(virthostileCmdline({ seed: 7, steps: 100 })).toBe("seed=7 steps=100");
  });

  test("tell of devices as Linux reads it", () => {
    const slots = [
      { base: 0xf010_0000, line: 5 },
      { base: 0xf010_1000, line: 6, size: 4096 },
    ];
    expect(virtioMmioWords(slots)).toBe("virtio_mmio.device=512@0xf0100000:5 virtio_mmio.device=4096@0xf0101000:6");
  });
});

describe("what the guests with virtio drivers print", () => {
  test("agreements", () => {
    expect(parseVirtioAgreements(`x\r\n${agreement}y`)).toEqual([
      {
        name: "blk",
        base: 0xf010_0000,
        line: 5,
        offered: 0x5_3000_6e44n,
        agreed: 0x1_3000_0004n,
        ring: "split",
        indirect: true,
        event: false,
        inorder: false,
        size: 256,
      },
    ]);
  });

  test("blkbench's result, once it is whole", () => {
    const output =
      "begin 100\nend 350 5000\nblkbench: mode=seqwrite depth=8 block=4096 ops=5000 bytes=20480000 tsc=250 errors=1 notifications=203 interrupts=2";
    expect(parseBlkbench(output)).toBeUndefined();
    expect(parseBlkbench(`${output}\r\n`)).toEqual({
      mode: "seqwrite",
      depth: 8,
      block: 4096,
      ops: 5000,
      bytes: 20_480_000,
      tsc: 250,
      beginTsc: 100n,
      endTsc: 350n,
      errors: 1,
      notifications: 203,
      interrupts: 2,
    });
    expect(() => parseBlkbench("begin 1\nend 2 3\nblkbench: mode=randread depth=x\n")).toThrow("depth");
  });

  test("netbench's result", () => {
    const output =
      "begin 1\nend 9 3\nnetbench: role=pingpong size=64 packets=3 bytes=192 tsc=8 errors=0 lost=0 disorder=0 shortest=1 longest=4 notifications=6 interrupts=0\n";
    expect(parseNetbench(output)).toMatchObject({ role: "pingpong", packets: 3, tsc: 8, endTsc: 9n, longest: 4 });
    expect(parseNetbench("")).toBeUndefined();
  });

  test("virtload's counters, findings and summary", () => {
    const output =
      "virtload\nt blk=1 net1=2\nSTALL net1 status=0xf interrupt=0x1 0:4+\nRESET blk\nt blk=10 net1=2\nvirtload: blk=12 net1=2 net1_late=1 interrupts=30 resets=1 stalls=1\n";
    expect(parseVirtloadCounters(output)).toEqual([
      { blk: 1, net1: 2 },
      { blk: 10, net1: 2 },
    ]);
    expect(parseVirtloadFindings(output)).toEqual([
      { kind: "STALL", text: "net1 status=0xf interrupt=0x1 0:4+" },
      { kind: "RESET", text: "blk" },
    ]);
    expect(parseVirtloadSummary(output)).toEqual({
      counters: { blk: 12, net1: 2, net1_late: 1 },
      interrupts: 30,
      resets: 1,
      stalls: 1,
    });
    expect(parseVirtloadSummary("virtload\n")).toBeUndefined();
  });

  test("virthostile's summary", () => {
    const output =
      "ALIVE blk needs_reset=3\nDEAD rng status=0x4f\nvirthostile: steps=10 resets=4 needs_reset=3 dead=1\n";
    expect(parseVirthostile(output)).toEqual({ steps: 10, resets: 4, needsReset: 3, alive: ["blk"], dead: ["rng"] });
  });

  test("the stream of virtload", () => {
    const bytes = Array.from({ length: 24 }, (_, at) => virtloadStreamByte(8 * 0x1_0203 + at));
    const words = Buffer.alloc(24);
    for (const word of [0, 1, 2]) words.writeBigUInt64LE(0x1_0203n + BigInt(word), 8 * word);
    expect(Buffer.from(bytes)).toEqual(words);
  });
});
