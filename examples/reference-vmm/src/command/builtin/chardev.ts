import type { ConsolePortInfo } from "@baton/devices-virtio";
import { type Command, defineCommand } from "../command.js";
import { arrayOf, bool, object, str } from "../schema.js";

/** Character devices. */
export const chardevCommands: readonly Command[] = [
  defineCommand({
    name: "query-chardev",
    doc: "The character devices that devices of the guest use.",
    monitor: {
      name: "info chardev",
      help: "show the character devices",
      render: (chardevs) => chardevs.map(({ label, filename }) => `${label}: filename=${filename}\n`).join(""),
    },
    arguments: {},
    returns: arrayOf(
      object({
        label: { type: str, doc: "its id" },
        filename: { type: str, doc: "what it stands on, as in `unix:PATH,server=on` or `pty:/dev/pts/N`" },
        "frontend-open": { type: bool, doc: "whether the guest listens: a serial port always does" },
      }),
    ),
    async handler({ vm }) {
      const serial = vm.serialChardev;
      const consoles = vm.machine.virtio.devices.filter(({ description }) => description.model === "virtio-console");
      const ports = await Promise.all(consoles.map((device) => device.command("ports") as Promise<ConsolePortInfo[]>));
      return [
        ...(serial === undefined ? [] : [{ ...serial, "frontend-open": true }]),
        ...ports.flat().map(({ label, filename, open, connected, console }) => ({
          label,
          filename: connected ? filename : `disconnected:${filename}`,
          "frontend-open": console || open,
        })),
      ];
    },
  }),
];
