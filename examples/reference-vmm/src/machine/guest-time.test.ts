import { MSR_KVM_WALL_CLOCKS, MSR_TSC } from "@baton/core-kvm";
import { GuestMemory, RamBlock } from "@baton/memory";
import { describe, expect, it } from "@jest/globals";
import { elapsedSince, keepWallClocks, withLaterTsc } from "./guest-time.js";

describe("a guest's time", () => {
  it("counts what passed between two hosts, and never goes back", () => {
    expect(elapsedSince({ realtimeNs: 1_000n }, 5_000n)).toBe(4_000n);
    expect(elapsedSince({ realtimeNs: 5_000n }, 1_000n)).toBe(0n);
    expect(elapsedSince({ realtimeNs: null }, 1_000n)).toBe(0n);
  });

  it("moves the TSC by that, at the guest's frequency, and no other MSR", () => {
    const state = {
      tscKhz: 2_000_000,
      msrs: [
        { index: MSR_TSC, data: 100n },
        { index: 0x1b, data: 7n },
      ],
    };
    const later = [
      { index: MSR_TSC, data: 6_000_000_100n },
      { index: 0x1b, data: 7n },
    ];
    expect(withLaterTsc(state, 3_000_000_000n).msrs).toEqual(later);
    expect(withLaterTsc({ ...state, tscKhz: null }, 3_000_000_000n).msrs).toEqual(state.msrs);
  });

  it("keeps the time of boot in the guest's memory, wherever it asked for it, and nothing where that is no memory", () => {
    const block = RamBlock.create({ id: "ram", size: 1n << 20n, backend: { kind: "memfd" } });
    const memory = GuestMemory.layout([block]);
    const at = [0x1000n, 0x2008n, 1n << 40n, 0n];
    const msrs = at.map((data, i) => ({ index: MSR_KVM_WALL_CLOCKS[i % 2] as number, data }));
    const text = (gpa: bigint) => Buffer.from(memory.read(gpa, 12)).toString();
    memory.write(0x1000n, Buffer.from("first clock!"));
    memory.write(0x2008n, Buffer.from("other clock!"));
    const giveBack = keepWallClocks(memory, [{ msrs }, { msrs }]);
    memory.fill(0x1000n, 0x2000, 0xff);
    giveBack();
    expect([text(0x1000n), text(0x2008n)]).toEqual(["first clock!", "other clock!"]);
    memory.close();
    block.close();
  });
});
