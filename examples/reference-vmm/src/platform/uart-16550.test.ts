import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { TestContext } from "./testing/context.js";
import { type OutputPolicy, Uart16550, uart16550 } from "./uart-16550.js";

const R = { data: 0, ier: 1, iir: 2, lcr: 3, mcr: 4, lsr: 5, msr: 6, scr: 7 } as const;
const NONE = 1;
const MODEM = 0;
const THRE = 2;
const DATA = 4;
const LINE = 6;

/** A UART with a record of what it did to its host. */
function uart(policy: OutputPolicy = "drop", shared = Uart16550.createShared()) {
  const levels: number[] = [];
  const calls: string[] = [];
  const device = new Uart16550(shared, {
    policy,
    setIrq: (level) => levels.push(level ? 1 : 0),
    wakeReader: () => calls.push("wake"),
    inputWanted: () => calls.push("input wanted"),
  });
  const write = (register: number, value: number) => device.write(register, 1, value);
  const read = (register: number) => device.read(register);
  const cause = () => read(R.iir) & 0x0f;
  const receive = (text: string) => device.receive(Buffer.from(text, "latin1"));
  return { device, shared, levels, calls, read, write, cause, receive };
}

describe("the 16550's registers", () => {
  it("are in their reset state: idle, nothing pending, a modem that is connected", () => {
    const { read } = uart();
    expect([R.ier, R.iir, R.lcr, R.lsr, R.msr, R.scr].map(read)).toEqual([0, NONE, 0, 0x60, 0xb0, 0]);
  });

  it("pass the Linux driver's probe", () => {
    const { read, write } = uart();
    // serial8250's autoconfig: the interrupt enables and the scratch register hold what is written, ...
    write(R.ier, 0);
    expect(read(R.ier) & 0x0f).toBe(0);
    write(R.ier, 0x0f);
    expect(read(R.ier) & 0x0f).toBe(0x0f);
    write(R.ier, 0);
    // ... loopback turns modem outputs into inputs, ...
    write(R.mcr, 0x10 | 0x0a);
    expect(read(R.msr) & 0xf0).toBe(0x90);
    write(R.mcr, 8);
    // ... and enabled FIFOs show in the two top bits of the identification: a 16550A.
    write(R.lcr, 0);
    write(R.iir, 1);
    expect(read(R.iir) >> 6).toBe(3);
    write(R.iir, 0);
    expect(read(R.iir) >> 6).toBe(0);
  });

  it("keep the divisor apart from data and interrupt enables", () => {
    const { read, write, device } = uart();
    write(R.ier, 5);
    write(R.lcr, 0x83);
    write(0, 0x34);
    write(1, 0x12);
    expect([read(0), read(1)]).toEqual([0x34, 0x12]);
    write(R.lcr, 0x03);
    expect(read(R.ier)).toBe(5);
    expect(device.save().divisor).toBe(0x1234);
    expect(device.output.length).toBe(0);
  });

  it.each([
    [0x01, 0x20],
    [0x02, 0x10],
    [0x04, 0x40],
    [0x08, 0x80],
    [0x0f, 0xf0],
  ])("loop modem output %i back as input %i", (outputs, inputs) => {
    const { read, write } = uart();
    write(R.mcr, 0x10 | outputs);
    expect(read(R.msr)).toBe(inputs);
  });

  it("loop sent bytes back, and report an overrun once", () => {
    const { read, write, device } = uart();
    write(R.mcr, 0x10);
    for (const byte of [1, 2, 3]) write(R.data, byte);
    expect(device.output.length).toBe(0);
    expect([read(R.data), read(R.data), read(R.data)]).toEqual([1, 2, 3]);
    for (let i = 0; i < 4097; i++) write(R.data, 0x55);
    expect(read(R.lsr) & 0x03).toBe(3);
    expect(read(R.lsr) & 0x03).toBe(1);
  });
});

describe("the 16550's interrupts", () => {
  it("come in the order of their urgency", () => {
    const { device, cause, write, receive, read } = uart();
    device.load({ ...device.save(), ier: 0x0f, lsr: 0x62, msr: 0xb1, threPending: true });
    receive("x");
    expect(cause()).toBe(LINE);
    read(R.lsr);
    expect(cause()).toBe(DATA);
    read(R.data);
    expect(cause()).toBe(THRE);
    expect(cause()).toBe(MODEM);
    read(R.msr);
    expect(cause()).toBe(NONE);
    write(R.ier, 0);
  });

  it("raise the line for 'transmitter empty' when it is enabled and after each byte, and lower it when it is read", () => {
    const { levels, write, cause } = uart();
    write(R.ier, 2);
    expect(levels).toEqual([1]);
    expect(cause()).toBe(THRE);
    expect(levels).toEqual([1, 0]);
    write(R.ier, 2);
    expect(levels).toEqual([1, 0]);
    write(R.data, 0x41);
    expect(levels).toEqual([1, 0, 1]);
    write(R.ier, 0);
    expect(levels).toEqual([1, 0, 1, 0]);
    expect(cause()).toBe(NONE);
  });

  it("keep 'transmitter empty' pending while something more urgent is read", () => {
    const { write, cause, receive, read } = uart();
    write(R.ier, 3);
    receive("a");
    expect(cause()).toBe(DATA);
    read(R.data);
    expect(cause()).toBe(THRE);
    expect(cause()).toBe(NONE);
  });

  it("hold the line up until the last received byte is read", () => {
    const { levels, write, receive, read } = uart();
    receive("ab");
    expect(levels).toEqual([]);
    write(R.ier, 1);
    expect(levels).toEqual([1]);
    expect([read(R.data), read(R.lsr) & 1, read(R.data), read(R.lsr) & 1]).toEqual([0x61, 1, 0x62, 0]);
    expect(levels).toEqual([1, 0]);
    expect(read(R.data)).toBe(0);
  });
});

describe("the 16550's flow of bytes", () => {
  it("forgets the FIFO when it is cleared, and not what is still on the wire", () => {
    const { read, write, receive } = uart();
    receive("0123456789abcdefgh");
    write(R.iir, 0x03);
    expect(String.fromCharCode(read(R.data), read(R.data))).toBe("gh");
    expect(read(R.lsr) & 1).toBe(0);
  });

  it("takes input until it is full, and asks for more once half of it is read", () => {
    const { device, calls, read } = uart();
    expect(device.receive(new Uint8Array(5000).fill(7))).toBe(4096);
    for (let i = 0; i < 2048; i++) read(R.data);
    expect(calls).toEqual([]);
    read(R.data);
    expect(calls).toEqual(["input wanted"]);
    expect(device.receive(new Uint8Array(904))).toBe(904);
    for (let i = 0; i < 3000; i++) read(R.data);
    expect(calls).toEqual(["input wanted"]);
  });

  it("still asks for more after the guest has cleared a full FIFO or was reset", () => {
    const { device, calls, read, write } = uart();
    device.receive(new Uint8Array(5000));
    write(R.iir, 0x07);
    device.reset();
    while (read(R.lsr) & 1) read(R.data);
    expect(calls).toEqual(["input wanted"]);
  });

  it("wakes a reader that sleeps, once, and does not let it sleep on output", () => {
    const { device, calls, write } = uart();
    write(R.data, 1);
    write(R.data, 2);
    expect(calls).toEqual(["wake"]);
    expect(device.sleepReader()).toBe(false);
    device.output.consume(2);
    expect(device.sleepReader()).toBe(true);
    write(R.data, 3);
    expect(calls).toEqual(["wake", "wake"]);
  });

  it("drops and counts what does not fit, where that is the policy", () => {
    const { device, write } = uart("drop");
    for (let i = 0; i < 65536 + 10; i++) write(R.data, i & 0xff);
    expect([device.output.length, device.output.dropped]).toEqual([65536, 10]);
  });

  it("uses its reserve rather than lose a byte when it is asked to pause", () => {
    const { device, write } = uart("wait");
    device.interrupted = () => true;
    for (let i = 0; i < 65536; i++) write(R.data, i & 0xff);
    expect([device.output.length, device.output.dropped]).toEqual([65536, 0]);
  });

  it("makes a guest in another thread wait for a slow reader, and loses nothing", async () => {
    const COUNT = 200_000;
    const { device, shared } = uart("wait");
    const module = createRequire(import.meta.url).resolve("@baton/reference-vmm/platform");
    const writer = new Worker(
      `const { workerData: { shared, module, count } } = require("node:worker_threads");
       import(module).then(({ uart16550 }) => {
         const device = uart16550({
           shared, options: { device: "serial0", gsi: 4, policy: "wait", outputFd: -1, inputFd: -1 },
           setIrq() {}, emit() {}, interrupted: () => false,
         });
         for (let i = 0; i < count; i++) device.write(0, 1, (i * 31) & 0xff);
       });`,
      { eval: true, workerData: { shared, module, count: COUNT } },
    );
    const ended = new Promise((resolve) => writer.once("exit", resolve));
    let taken = 0;
    let wrong = 0;
    const deadline = performance.now() + 30_000;
    while (taken < COUNT && performance.now() < deadline) {
      const chunk = device.output.peek(taken % 3 === 0 ? 4096 : 100);
      for (const [i, byte] of chunk.entries()) if (byte !== (((taken + i) * 31) & 0xff)) wrong++;
      device.output.consume(chunk.length);
      taken += chunk.length;
    }
    await ended;
    expect({ taken, wrong, dropped: device.output.dropped }).toEqual({ taken: COUNT, wrong: 0, dropped: 0 });
  });

  it("tells its back end by eventfds or by events", () => {
    const context = new TestContext(Uart16550.createShared(), {
      ...{ device: "serial0", gsi: 4, policy: "drop", outputFd: -1, inputFd: -1 },
    });
    const device = uart16550(context);
    device.write(R.ier, 1, 2);
    device.write(R.data, 1, 0x41);
    expect(context.lines).toEqual(["4:1"]);
    expect(context.events).toEqual([{ device: "serial0", name: "output", pause: false }]);
  });
});

describe("the 16550's state", () => {
  const access = fc.record({
    write: fc.boolean(),
    register: fc.integer({ min: 0, max: 7 }),
    value: fc.integer({ min: 0, max: 255 }),
    input: fc.string({ maxLength: 4 }),
  });

  it("makes another one that answers every access in the same way", () => {
    const list = fc.array(access, { maxLength: 60 });
    fc.assert(
      fc.property(list, list, (before, after) => {
        const run = (target: ReturnType<typeof uart>, accesses: typeof before) =>
          accesses.map(({ write, register, value, input }) => {
            if (input !== "") target.receive(input);
            return write ? target.write(register, value) : target.read(register);
          });
        const first = uart();
        run(first, before);
        const state = first.device.save();
        const second = uart();
        second.device.load(state);
        expect(second.device.save()).toEqual(state);
        second.device.load(state);
        expect(second.device.save()).toEqual(state);
        expect(run(second, after)).toEqual(run(first, after));
        expect(second.device.save()).toEqual(first.device.save());
      }),
    );
  });

  it("raises a line that was up, and wakes the reader of bytes that had not been taken", () => {
    const first = uart();
    first.write(R.ier, 1);
    first.receive("x");
    first.write(R.data, 0x41);
    const second = uart();
    second.device.load(first.device.save());
    expect(second.levels).toEqual([1]);
    expect(second.calls).toEqual(["wake"]);
    expect([...second.device.output.peek()]).toEqual([0x41]);
  });

  it("returns to the reset state with a lowered line, its output kept", () => {
    const { device, write, receive, levels, read } = uart();
    write(R.ier, 1);
    receive("x");
    write(R.data, 0x41);
    write(R.lcr, 3);
    device.reset();
    expect(levels.at(-1)).toBe(0);
    expect([R.ier, R.iir, R.lcr, R.lsr].map(read)).toEqual([0, NONE, 0, 0x60]);
    expect(device.output.length).toBe(1);
  });
});
