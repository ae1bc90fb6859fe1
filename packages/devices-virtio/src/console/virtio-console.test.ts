import { afterEach, describe, expect, it } from "@jest/globals";
import { consoleWorld } from "../../test/support/console-guest.js";
import type { ConsolePortOptions } from "./port.js";
import { virtioConsole } from "./virtio-console.js";

const { client, close, fresh } = consoleWorld();
afterEach(close);

describe("virtioConsole", () => {
  const backend = { kind: "null" } as const;
  const make = (ports: Parameters<typeof virtioConsole>[0]["ports"], maxPorts?: number) =>
    virtioConsole({ id: "c", ports, ...(maxPorts !== undefined && { maxPorts }) });

  it("numbers its ports", () => {
    const description = make([
      { id: "a", console: false, backend },
      { id: "b", console: true, backend },
      { id: "c", console: false, nr: 2, backend },
      { id: "d", console: false, backend },
    ]);
    expect(description.queues).toBe(10);
    const opened = description.open((_name, _id, open) => open(), { ramBytes: 0 });
    const { ports } = opened.options as { ports: readonly ConsolePortOptions[] };
    expect(ports.map(({ id, nr }) => `${id}${nr}`)).toEqual(["a1", "b0", "c2", "d3"]);
    opened.close(false);
  });

  it.each([
    [[{ id: "a", console: false, nr: 0, backend }], /number 0 is for a console/],
    [
      [
        { id: "a", console: true, nr: 1, backend },
        { id: "b", console: true, nr: 1, backend },
      ],
      /number 1 is taken/,
    ],
    [[{ id: "a", console: true, nr: 31, backend }], /must be 0 to 30/],
    [
      [
        { id: "a", console: true, backend },
        { id: "a", console: true, backend },
      ],
      /two ports 'a'/,
    ],
    [[{ id: "a", console: true, name: "n".repeat(256), backend }], /more than 255 bytes/],
    [Array.from({ length: 32 }, (_, i) => ({ id: `${i}`, console: true, backend })), /no place for port '31'/],
  ])("refuses %#", (ports, message) => {
    expect(() => make(ports)).toThrow(message);
  });

  it("names what it cannot open, and leaves nothing behind", () => {
    const path = fresh();
    const description = make([
      { id: "a", console: false, backend: { kind: "unix", path } },
      { id: "b", console: false, backend: { kind: "unix-client", path: `${path}-none` } },
    ]);
    expect(() => description.open((_name, _id, open) => open(), { ramBytes: 0 })).toThrow(`socket ${path}-none`);
    expect(() => client(path)).toThrow();
  });
});
