import { parseSubOptions } from "../../options/grammar.js";
import type { Members } from "../schema.js";
import { deviceIds, type MonitorForm } from "./form.js";
import { typedArguments } from "./option-arguments.js";

/** Options of `-drive` that have another name in `blockdev-add`. */
const driveKeys: Readonly<Record<string, string>> = {
  id: "node-name",
  file: "file.filename",
  aio: "file.aio",
  readonly: "read-only",
  direct: "cache.direct",
  format: "driver",
};

/** `blockdev-add`'s arguments of an option string as `-drive` has it. */
function driveArguments(text: string, members: Members): Record<string, unknown> {
  const pairs = new Map(parseSubOptions("drive_add", text, false).pairs);
  if (pairs.get("if") === "none") pairs.delete("if");
  if (pairs.get("media") === "disk") pairs.delete("media");
  const renamed = [...pairs].map(([key, value]) => [driveKeys[key] ?? key, value] as const);
  return typedArguments(pairs.has("file") ? [...renamed, ["file.driver", "file"]] : renamed, members);
}

/** How the commands that change a VM's devices are written on the monitor, by their names. */
export const hotplugForms = {
  device_add: {
    parameters: [
      { name: "device", kind: "options", implied: "driver", choices: () => ["virtio-blk-mmio", "virtio-net-mmio"] },
    ],
    usage: "driver[,prop=value][,...]",
    help: "add device, like -device on the command line",
  },
  device_del: {
    parameters: [{ name: "id", kind: "word", choices: deviceIds }],
    usage: "device",
    help: "remove device",
  },
  netdev_add: {
    parameters: [{ name: "netdev", kind: "options", implied: "type", choices: () => ["tap"] }],
    usage: "tap,id=str[,prop=value][,...]",
    help: "add host network device",
  },
  netdev_del: { parameters: [{ name: "id", kind: "word" }], help: "remove host network device" },
  "blockdev-add": {
    name: "drive_add",
    parameters: [
      { name: "bus", kind: "word", choices: () => ["dummy"] },
      { name: "options", kind: "options" },
    ],
    usage: "dummy id=str,file=path[,prop=value][,...]",
    help: "add drive to be used by a device, like -drive on the command line",
    toArguments: ({ options }, members) => driveArguments(options as string, members),
  },
  "blockdev-del": {
    name: "drive_del",
    parameters: [{ name: "node-name", kind: "word" }],
    usage: "id",
    help: "remove drive",
  },
} satisfies Readonly<Record<string, MonitorForm>>;
