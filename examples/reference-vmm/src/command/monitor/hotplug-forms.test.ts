import { expect, test } from "@jest/globals";
import { fakeContext } from "../../surface/qmp/testing/fake-vm.js";
import { defineCommand } from "../command.js";
import { CommandTable } from "../command-table.js";
import { bool, int, type Members, nothing, object, oneOf, str } from "../schema.js";
import { monitorState } from "./form.js";
import { hotplugForms } from "./hotplug-forms.js";
import { HumanMonitor } from "./human-monitor.js";

const optional = true;
const commands: Readonly<Record<string, Members>> = {
  device_add: { driver: { type: str }, id: { type: str }, lun: { type: int, optional }, addr: { type: str, optional } },
  device_del: { id: { type: str } },
  netdev_add: {
    type: { type: oneOf("tap"), optional },
    id: { type: str },
    ifname: { type: str, optional },
    vhost: { type: bool, optional },
    queues: { type: int, optional },
  },
  netdev_del: { id: { type: str } },
  "blockdev-add": {
    "node-name": { type: str },
    file: { type: object({ driver: { type: oneOf("file") }, filename: { type: str }, aio: { type: str, optional } }) },
    cache: { type: object({ direct: { type: bool, optional } }), optional },
    "read-only": { type: bool, optional },
    "throttling.iops-total": { type: int, optional },
  },
  "blockdev-del": { "node-name": { type: str } },
};

/** What the commands were called with, as they come to exist in the table. */
async function called(line: string, names = Object.keys(commands)): Promise<unknown> {
  let call: unknown;
  const table = new CommandTable(
    names.map((name) =>
      defineCommand({
        name,
        doc: "",
        monitor: hotplugForms[name as keyof typeof hotplugForms],
        arguments: commands[name] as Members,
        returns: nothing,
        handler: (_context, args) => {
          call = { [name]: args };
          return {};
        },
      }),
    ),
  );
  const text = await new HumanMonitor(table).execute(fakeContext(), line, {
    signal: new AbortController().signal,
    afterReply: () => {},
    monitor: monitorState(),
  });
  return text === "" ? call : text;
}

const file = { driver: "file", filename: "/d" };

test.each([
  ["device_add virtio-blk-mmio,id=d0,addr=0x1", { device_add: { driver: "virtio-blk-mmio", id: "d0", addr: "0x1" } }],
  ["device_add driver=virtio-blk-mmio,id=d0,lun=0", { device_add: { driver: "virtio-blk-mmio", id: "d0", lun: 0 } }],
  ["device_add x,id=a,,b", { device_add: { driver: "x", id: "a,b" } }],
  ["device_del d0", { device_del: { id: "d0" } }],
  [
    "netdev_add tap,id=n0,ifname=tap0,vhost=on,queues=2",
    { netdev_add: { type: "tap", id: "n0", ifname: "tap0", vhost: true, queues: 2 } },
  ],
  ["netdev_add id=n0,ifname=tap0", { netdev_add: { id: "n0", ifname: "tap0" } }],
  ["netdev_del n0", { netdev_del: { id: "n0" } }],
  ["drive_add dummy id=d0,file=/d", { "blockdev-add": { "node-name": "d0", file } }],
  [
    "drive_add dummy file=/d,if=none,id=d0,readonly=on,direct=off,aio=threads,media=disk,throttling.iops-total=9",
    {
      "blockdev-add": {
        "node-name": "d0",
        file: { ...file, aio: "threads" },
        cache: { direct: false },
        "read-only": true,
        "throttling.iops-total": 9,
      },
    },
  ],
  ["drive_del d0", { "blockdev-del": { "node-name": "d0" } }],
])("%s", async (line, call) => {
  expect(await called(line)).toEqual(call);
});

test.each([
  ["device_add", 'device_add: device expected\nTry "help device_add" for more information\n'],
  ["device_add id=d0", "Error: Parameter 'driver' is missing\n"],
  ["device_add x,id=d0,lun=one", "Error: Invalid parameter type for 'lun', expected: integer\n"],
  ["device_add x,id=d0,nope=1", "Error: Parameter 'nope' is unexpected\n"],
  ["device_add x,id=d0,id=d1", "Error: device_add: 'id' is given twice in 'x,id=d0,id=d1'\n"],
  ["netdev_add user,id=n0", "Error: Parameter 'type' does not accept value 'user'\n"],
  ["drive_add dummy id=d0", "Error: Parameter 'file' is missing\n"],
  ["drive_add id=d0", 'drive_add: options expected\nTry "help drive_add" for more information\n'],
  ["drive_add dummy file=/d", "Error: Parameter 'node-name' is missing\n"],
])("%s is refused", async (line, text) => {
  expect(await called(line)).toBe(text);
});

test("a command that does not exist is not on the monitor", async () => {
  expect(await called("drive_add dummy id=d0,file=/d", ["device_add"])).toBe("unknown command: 'drive_add'\n");
  expect(await called("help", ["device_add"])).toBe("unknown command: 'help'\n");
});
