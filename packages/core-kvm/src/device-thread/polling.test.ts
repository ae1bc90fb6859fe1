import { describe, expect, it } from "@jest/globals";
import { Polling } from "./polling.js";
import type { PollingOptions } from "./service.js";

/** Nanoseconds that pass while all pollers are asked once. */
const ROUND_NS = 10;
const never = () => false;

/** Something to poll that finds work in given rounds, and at its end if wanted. */
class Source {
  readonly calls: string[] = [];
  polls = 0;
  workAt: number | undefined;
  late = false;

  begin(): void {
    this.calls.push("begin");
  }

  poll(): boolean {
    return ++this.polls === this.workAt;
  }

  end(): boolean {
    this.calls.push("end");
    return this.late;
  }
}

/** A polling whose clock goes on with each poll of its source. */
function make(options: PollingOptions) {
  const clock = { now: 1e9 };
  const source = new Source();
  const polling = new Polling(options, () => clock.now);
  const stop = polling.add({
    begin: () => source.begin(),
    poll: () => {
      clock.now += ROUND_NS;
      return source.poll();
    },
    end: () => source.end(),
  });
  /** Polls in vain, sleeps, and is woken so much later; how long the polling took. */
  const idle = (sleepNs: number) => {
    const started = clock.now;
    expect(polling.run(never)).toBe(false);
    const took = clock.now - started;
    clock.now += sleepNs;
    polling.woken();
    return took;
  };
  return { polling, source, clock, stop, idle };
}

describe("polling", () => {
  it("is for what was added, and has a longest time", () => {
    const { polling, stop } = make({ maxNs: 10_000 });
    expect(polling.enabled).toBe(true);
    stop();
    expect(polling.enabled).toBe(false);
    expect(make({ maxNs: 0 }).polling.enabled).toBe(false);
  });

  it("ends with the first work, and leaves notifications off", () => {
    const { polling, source } = make({ maxNs: 10_000 });
    source.workAt = 5;
    expect(polling.run(never)).toBe(true);
    expect(source.polls).toBe(5);
    expect(source.calls).toEqual(["begin"]);
  });

  it("asks all sources before it ends", () => {
    const { polling, source } = make({ maxNs: 10_000 });
    const second = new Source();
    polling.add(second);
    source.workAt = 1;
    polling.run(never);
    expect([source.polls, second.polls]).toEqual([1, 1]);
  });

  it("asks for notifications when its time is up, and sees the work that came just before", () => {
    const { polling, source } = make({ maxNs: 10_000 });
    source.late = true;
    expect(polling.run(never)).toBe(true);
    expect(source.calls).toEqual(["begin", "end"]);
    source.late = false;
    expect(polling.run(never)).toBe(false);
  });

  it("lets descriptors interrupt it, and looks at them often enough", () => {
    const { polling, source } = make({ maxNs: 100_000 });
    let looks = 0;
    expect(polling.run(() => ++looks === 2)).toBe(true);
    expect(source.polls).toBeLessThanOrEqual(64);
    expect(source.calls).toEqual(["begin"]);
  });

  it("lets threads run that wait for the processor, after it has looked at the descriptors", () => {
    const order: string[] = [];
    const clock = { now: 0 };
    const polling = new Polling(
      { maxNs: 1000 },
      () => clock.now,
      () => {
        order.push("others");
        clock.now += 2000;
      },
    );
    polling.add({ begin: () => {}, poll: () => order.push("poll") === 0, end: () => false });
    expect(polling.run(() => order.push("descriptors") === 0)).toBe(false);
    expect(order.slice(0, 3)).toEqual(["poll", "descriptors", "others"]);
  });

  it("polls once even where its time is over at once", () => {
    const { polling, source, idle } = make({ maxNs: 1000 });
    // Nothing came for long: the time is 0.
    idle(1e9);
    source.polls = 0;
    source.workAt = 1;
    expect(polling.run(never)).toBe(true);
  });
});

/** Times are met to within the rounds between two looks at the clock. */
const about = (ns: number) => expect.closeTo(ns, -2.9);

describe("the time to poll", () => {
  it("begins small, doubles while work comes just too late, and begins again where its longest was in vain", () => {
    const { idle } = make({ maxNs: 20_000 });
    expect(Array.from({ length: 6 }, () => idle(100))).toEqual([4000, 8000, 16_000, 20_000, 0, 4000].map(about));
  });

  it("stays as it is while work comes within it", () => {
    const { polling, source, clock, idle } = make({ maxNs: 20_000 });
    idle(100);
    for (let i = 0; i < 10; i++) {
      source.workAt = source.polls + 100;
      expect(polling.run(never)).toBe(true);
      clock.now += 1e6;
    }
    source.workAt = undefined;
    expect(idle(100)).toEqual(about(8000));
  });

  it("is never more than the longest, not even at first", () => {
    const { idle } = make({ maxNs: 1000 });
    expect(idle(100)).toEqual(about(1000));
  });

  it("becomes 0 after a long sleep, and begins again after a short one", () => {
    const { idle } = make({ maxNs: 20_000 });
    idle(100);
    expect(idle(1e6)).toEqual(about(8000));
    expect(idle(100)).toEqual(about(0));
    expect(idle(100)).toEqual(about(4000));
  });

  it("grows and shrinks by what is asked for", () => {
    const { idle } = make({ maxNs: 100_000, grow: 5, shrink: 2 });
    expect([1, 2].map(() => idle(100))).toEqual([4000, 20_000].map(about));
    expect(idle(1e6)).toEqual(about(100_000));
    expect(idle(1e6)).toEqual(about(50_000));
    expect(idle(100)).toEqual(about(25_000));
  });

  it("counts from the beginning of the polling: a sleep as long as the longest time shrinks it", () => {
    const { idle } = make({ maxNs: 20_000, shrink: 2 });
    idle(100);
    // 8000 of polling and 12,000 of sleep, with a round too much.
    idle(12_001);
    expect(idle(100)).toEqual(about(4000));
  });
});
