import { describe, expect, it } from "@jest/globals";
import { emptyOptions, type VmmOptions } from "../options.js";
import { optionTable } from "../table.js";
import { deviceConfigs } from "./table.js";

function options(...pairs: readonly (readonly [string, string])[]): VmmOptions {
  const result = emptyOptions();
  for (const [name, value] of pairs) optionTable[name]?.apply(result, value, name);
  return result;
}

const nul = (id: string) => ["chardev", `null,id=${id}`] as const;
const device = (text: string) => ["device", text] as const;
const serial = device("virtio-serial-device");

describe("virtio-serial-device", () => {
  it("gathers its ports, wherever they stand", () => {
    const port = device("virtserialport,bus=serial.0,chardev=b,name=org.qemu.guest_agent.0,nr=3");
    const [console, ...others] = deviceConfigs(
      options(
        port,
        device("virtio-serial-device,id=ser,iothread=io,packed=on"),
        device("virtconsole,chardev=a"),
        nul("a"),
        nul("b"),
      ),
    );
    expect(others).toEqual([]);
    expect(console).toMatchObject({ model: "virtio-console", id: "ser", queues: 10, iothread: "io" });
    if (console?.kind !== "virtio") throw new Error("no virtio device");
    const { ports } = console.open((_name, _id, open) => open(), { ramBytes: 0 }).options as { ports: unknown };
    expect(ports).toEqual([
      {
        ...{ id: "org.qemu.guest_agent.0", nr: 3, name: "org.qemu.guest_agent.0", console: false },
        ...{ label: "b", filename: "null", endpoint: { kind: "null" } },
      },
      { id: "a", nr: 0, name: "", console: true, label: "a", filename: "null", endpoint: { kind: "null" } },
    ]);
  });

  it.each([
    [[device("virtconsole,chardev=a"), nul("a")], /virtconsole needs a device for ports; Add -device virtio-serial/],
    [[serial, device("virtconsole")], /virtconsole needs chardev=/],
    [[serial, device("virtserialport,chardev=x")], /virtserialport: there is no chardev 'x'/],
    [
      [serial, device("virtconsole,chardev=a"), device("virtserialport,chardev=a,id=b"), nul("a")],
      /chardev 'a' is taken/,
    ],
    [[serial, device("virtconsole,chardev=a"), nul("a"), ["serial", "chardev:a"]], /chardev 'a' is taken/],
    [
      [serial, device("virtconsole,chardev=a,nr=2"), device("virtserialport,chardev=b,nr=2"), nul("a"), nul("b")],
      /number 2 is taken/,
    ],
    [[serial, device("virtserialport,chardev=a,nr=0"), nul("a")], /number 0 is for a console/],
    [[serial, device("virtconsole,chardev=a,nr=31"), nul("a")], /nr=31/],
    [
      [device("virtio-serial-device,max-ports=1"), device("virtserialport,chardev=a"), nul("a")],
      /no place for port 'a'/,
    ],
    [[device("virtio-serial-device,max-ports=32")], /max-ports=32/],
    [[serial, serial], /there can be one virtio-serial-device/],
    [[serial, device("virtconsole,chardev=a,iothread=io"), nul("a")], /iothread= belongs to virtio-serial-device/],
  ] as const)("refuses %#", (pairs, message) => {
    expect(() => deviceConfigs(options(...pairs))).toThrow(message);
  });
});
