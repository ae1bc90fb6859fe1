import { type Fd, socketpair, tryRead, tryWrite } from "@baton/linux";
import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { Driver } from "../../test/support/driver.js";
import { packet } from "../../test/support/net-bench.js";
import { BASE, bits, features, ram } from "../../test/support/world.js";
import type { VirtioDeviceContext } from "../device/device.js";
import { RateLimit } from "../device/rate-limit.js";
import { createQueue } from "../queue/create.js";
import type { VirtQueue } from "../queue/queue.js";
import { PUBLISH_BYTES } from "./packet.js";
import { Receiver } from "./receive.js";
import { DirectionCounter } from "./statistics.js";
import { Transmitter } from "./transmit.js";

const BUFFER = 0x8_0000;
const COUNT = 4;
const long = packet(new Uint8Array(PUBLISH_BYTES));
const short = packet(new Uint8Array(64));

let memory: ReturnType<typeof ram>;
let queue: VirtQueue;
let driver: Driver;
let own: Fd;
let other: Fd;
/** How many buffers the driver found used, each time that it was shown some. */
let shown: number[];

beforeEach(() => {
  memory = ram();
  queue = createQueue({ index: 0, memory: memory.memory, features: bits(features()) });
  driver = new Driver(memory.memory, features(), BASE, 16, BASE + 0x2000);
  queue.configure(driver.rings.layout);
  [own, other] = socketpair({ packets: true, nonblock: true });
  shown = [];
  const publish = queue.publishDone.bind(queue);
  queue.publishDone = () => {
    publish();
    let count = 0;
    while (driver.rings.take()) count++;
    if (count > 0) shown.push(count);
  };
});
afterEach(() => {
  own.close();
  other.close();
  memory[Symbol.dispose]();
});

const options = () => {
  const context = { memory: memory.memory, interrupt() {}, again() {} } as unknown as VirtioDeviceContext;
  const limit = new RateLimit({}, context, () => {});
  return { context, fd: own.raw, ring: undefined, limit, counter: new DirectionCounter(), onLost() {} };
};

/** Gives the device `COUNT` buffers of so many bytes. */
function give(bytes: Uint8Array, writable: boolean): void {
  for (let i = 0; i < COUNT; i++) {
    const gpa = BASE + BUFFER + i * 0x8000;
    memory.memory.write(gpa, bytes);
    driver.add([{ gpa, length: bytes.length, writable }]);
  }
  driver.rings.publish();
}

function transmit(bytes: Uint8Array): number[] {
  give(bytes, false);
  const transmitter = new Transmitter({ ...options(), onFull() {} });
  transmitter.active = true;
  transmitter.notify(queue);
  const into = new Uint8Array(bytes.length);
  for (let i = 0; i < COUNT; i++) expect(tryRead(other.raw, into)).toBe(bytes.length);
  return shown;
}

function receive(bytes: Uint8Array): number[] {
  give(bytes, true);
  for (let i = 0; i < COUNT; i++) expect(tryWrite(other.raw, bytes)).toBe(bytes.length);
  const receiver = new Receiver({ ...options(), watch() {} });
  receiver.start(queue, true, bytes.length, true);
  receiver.serve();
  return shown;
}

describe("a driver", () => {
  it("is shown long packets one by one, so that it goes on beside the device", () => {
    expect(transmit(long)).toEqual([1, 1, 1, 1]);
    shown = [];
    expect(receive(long)).toEqual([1, 1, 1, 1]);
  });

  it("is shown short ones together", () => {
    expect(transmit(short)).toEqual([COUNT]);
    shown = [];
    expect(receive(short)).toEqual([COUNT]);
  });
});
