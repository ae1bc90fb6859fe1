import { expect, it } from "@jest/globals";
import { Driver } from "../../test/support/driver.js";
import { BASE, bits, features, ram } from "../../test/support/world.js";
import { createQueue } from "./create.js";

const part = { gpa: BASE + 0x8_0000, length: 64, writable: true };

it("goes on where the kernel has left a split queue", () => {
  using made = ram();
  const on = features({ eventIndex: true });
  const driver = new Driver(made.memory, on, BASE, 8, BASE + 0x2_0000);
  const queue = createQueue({ index: 0, memory: made.memory, features: bits(on) });
  queue.configure(driver.rings.layout);
  const ids = [1, 2, 3].map(() => driver.add([part]));
  driver.rings.publish();
  // The kernel uses two of the three, and has looked at all.
  const used = driver.rings.layout.device;
  for (const [i, id] of ids.slice(0, 2).entries()) made.memory.writeU32(used + 4n + BigInt(i * 8), id as number);
  made.memory.writeU16(used + 2n, 2);
  queue.reposition(3);
  const chain = queue.pop();
  expect(chain?.id).toBe(ids[2]);
  expect(() => queue.reposition(3)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  if (chain) queue.push(chain, 5);
  expect([driver.rings.take(), driver.rings.take(), driver.rings.take()].map((one) => one?.id)).toEqual(ids);
  expect(() => queue.reposition(200)).toThrow(expect.objectContaining({ code: "VIRTQUEUE_BROKEN" }));
});

it("is not for packed queues", () => {
  using made = ram();
  const on = features({ packed: true });
  const driver = new Driver(made.memory, on, BASE, 8, BASE + 0x2_0000);
  const queue = createQueue({ index: 0, memory: made.memory, features: bits(on) });
  expect(() => queue.reposition(0)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  queue.configure(driver.rings.layout);
  expect(() => queue.reposition(0)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});
