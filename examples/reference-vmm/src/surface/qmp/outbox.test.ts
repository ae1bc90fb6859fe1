import { Writable } from "node:stream";
import { describe, expect, test } from "@jest/globals";
import { Outbox } from "./outbox.js";

/** A stream that takes what it is given only when told to. */
function slowStream() {
  const written: string[] = [];
  let release = () => {};
  const stream = new Writable({
    highWaterMark: 1,
    write(chunk, _encoding, done) {
      written.push(chunk.toString("latin1"));
      release = done;
    },
  });
  return { stream, written, release: () => release() };
}

describe("Outbox", () => {
  test("keeps the order, and drops the oldest events of a slow client, never an answer", async () => {
    const { stream, written, release } = slowStream();
    const outbox = new Outbox(stream, { events: 2, bytes: 1000 }, () => {});
    outbox.reply("r0 ");
    for (const line of ["e1 ", "e2 "]) outbox.event(line);
    outbox.reply("r3 ");
    for (const line of ["e4 ", "e5 "]) outbox.event(line);
    outbox.reply("r6 ");
    expect(outbox.dropped).toBe(2);
    expect(outbox.bytes).toBe(15);
    release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).toEqual(["r0 ", "r3 e4 e5 r6 "]);
  });

  test("gives a client up that leaves too many bytes of answers", () => {
    const { stream } = slowStream();
    let overflows = 0;
    const outbox = new Outbox(stream, { events: 2, bytes: 10 }, () => {
      overflows++;
      outbox.close();
    });
    for (let i = 0; i < 5; i++) outbox.reply("12345");
    expect(overflows).toBe(1);
    expect(outbox.bytes).toBe(5);
  });

  test("drained resolves when the client has read, and when it is given up", async () => {
    const { stream, release } = slowStream();
    const outbox = new Outbox(stream, { events: 2, bytes: 1000 }, () => {});
    await outbox.drained(0);
    outbox.reply("1");
    let drained = false;
    const waiting = outbox.drained(0).then(() => {
      drained = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(drained).toBe(false);
    release();
    await waiting;
    outbox.reply("2");
    const given = outbox.drained(0);
    outbox.close();
    await given;
  });

  test("flush hands over everything", async () => {
    const { stream, written, release } = slowStream();
    const outbox = new Outbox(stream, { events: 2, bytes: 1000 }, () => {});
    outbox.reply("1");
    outbox.reply("2");
    const flushed = outbox.flush();
    for (let i = 0; i < 3; i++) {
      release();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await flushed;
    expect(written.join("")).toBe("12");
  });
});
