import { statSync } from "node:fs";
import { type BlkInfo, virtioBlk } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import type { BlockBackend } from "../../backend/backends.js";
import { type Command, type CommandContext, defineCommand } from "../command.js";
import { hotplugForms } from "../monitor/hotplug-forms.js";
import { bool, int, nothing, object, oneOf, type StaticMembers, str } from "../schema.js";
import { checkUnused } from "./backend-use.js";

const MAX_IOPS = 1_000_000;

const cache = object({
  direct: { type: bool, optional: true, doc: "past the host's page cache; not unless said so" },
  "no-flush": { type: bool, optional: true, doc: "only false: what the guest flushes is durable" },
});

const blockArguments = {
  "node-name": { type: str, doc: "its name; the disk that `device_add` makes on it has the same id" },
  driver: { type: oneOf("raw", "file", "host_device"), optional: true, doc: "only raw images" },
  file: {
    type: object({
      driver: { type: oneOf("file", "host_device"), doc: "a file or a block device; either word does for both" },
      filename: { type: str, doc: "its path, or `/dev/fdset/N` after `add-fd`" },
      aio: {
        type: oneOf("off", "threads", "native", "io_uring", "iouring"),
        optional: true,
        doc: "who carries requests out; `native` and nothing leave the choice",
      },
    }),
    doc: "the image",
  },
  cache: { type: cache, optional: true, doc: "the host's page cache" },
  "read-only": { type: bool, optional: true, doc: "whether the guest's writes fail; not unless said so" },
  discard: { type: oneOf("unmap", "ignore"), optional: true, doc: "whether discards give space back; `unmap`" },
  "detect-zeroes": { type: oneOf("off", "on", "unmap"), optional: true, doc: "writes of nothing but zeroes; `off`" },
  overlay: { type: str, optional: true, doc: "a private file that takes the guest's writes" },
  rerror: { type: oneOf("report", "ignore", "stop"), optional: true, doc: "what a failed read leads to; `report`" },
  werror: {
    type: oneOf("enospc", "report", "ignore", "stop"),
    optional: true,
    doc: "what a failed write leads to; `enospc`",
  },
  "throttling.iops-total": { type: int, optional: true, doc: "requests a second; 0, or nothing, for any number" },
  "throttling.bps-total": { type: int, optional: true, doc: "bytes a second; 0, or nothing, for any number" },
} as const;

/** Images that disks are plugged in on. */
export const blockdevCommands: readonly Command[] = [
  defineCommand({
    name: "blockdev-add",
    doc: "Names an image for a disk that `device_add` plugs in. It is opened once to see whether it can be used, and again with the disk.",
    monitor: hotplugForms["blockdev-add"],
    arguments: blockArguments,
    returns: nothing,
    errors: {
      DUPLICATE_ID: "there is a node of that name",
      BACKEND_IN_USE: "a disk of that name stands on its image already",
      IMAGE_OPEN: "the image cannot be opened",
      IMAGE_LOCKED: "another VM, or another disk, uses it",
      ROOT_DISK: "it is the image of the guest's root",
    },
    async handler(context, args) {
      const { blocks } = context.vm.backends;
      const id = args["node-name"];
      checkUnused(context, id, "block node");
      blocks.check(id);
      const options = blockOptions(context, args);
      await checkNotRoot(context, options.path);
      await virtioBlk(options)
        .open((_name, _id, open) => open(), { ramBytes: 0 })
        .close(false);
      blocks.add({ id, options });
      return {};
    },
  }),
  defineCommand({
    name: "blockdev-del",
    doc: "Forgets an image that `blockdev-add` has named, once its disk is unplugged.",
    monitor: hotplugForms["blockdev-del"],
    arguments: { "node-name": { type: str, doc: "its name" } },
    returns: nothing,
    errors: { BACKEND_MISSING: "there is no such node", BACKEND_IN_USE: "a disk stands on it" },
    handler(context, args) {
      checkUnused(context, args["node-name"], "block node");
      context.vm.backends.blocks.delete(args["node-name"]);
      return {};
    },
  }),
];

function blockOptions({ vm }: CommandContext, args: StaticMembers<typeof blockArguments>): BlockBackend {
  const id = args["node-name"];
  const refuse = (problem: string) => new BatonError("INVALID_ARGUMENT", `Block node '${id}': ${problem}`);
  const { aio } = args.file;
  const direct = args.cache?.direct ?? false;
  if (id === "") throw new BatonError("INVALID_ARGUMENT", "Parameter 'node-name' expects a name");
  if (args.cache?.["no-flush"]) throw refuse("cache.no-flush is not supported: the guest's flushes are carried out");
  if (aio === "off" && direct) throw refuse("file.aio off cannot be used with cache.direct");
  if (aio === "native" && !direct) throw refuse("file.aio native needs cache.direct");
  const limit = (name: "throttling.iops-total" | "throttling.bps-total", max: number) => {
    const value = args[name] ?? 0;
    if (value < 0 || value > max) throw refuse(`${name} must be 0 to ${max}, not ${value}`);
    return value;
  };
  const limits = {
    iops: limit("throttling.iops-total", MAX_IOPS),
    bytesPerSecond: limit("throttling.bps-total", Number.MAX_SAFE_INTEGER),
  };
  return {
    id,
    path: vm.backends.fdSets.resolve(args.file.filename),
    readOnly: args["read-only"] ?? false,
    direct,
    limits,
    ...((aio === "io_uring" || aio === "iouring") && { aio: "io_uring" as const }),
    ...((aio === "threads" || aio === "off") && { aio: "threads" as const }),
    ...(args.discard !== undefined && { discard: args.discard === "unmap" }),
    ...(args["detect-zeroes"] !== undefined && { detectZeroes: args["detect-zeroes"] }),
    ...(args.overlay !== undefined && { overlay: args.overlay }),
    ...(args.rerror !== undefined && { readError: args.rerror }),
    ...(args.werror !== undefined && { writeError: args.werror }),
  };
}

/** Refuses the file that the guest's root disk stands on, by whatever path. */
async function checkNotRoot({ vm }: CommandContext, path: string): Promise<void> {
  const { virtio } = vm.machine;
  const root = virtio.hotplug.root;
  const info = (await (root === undefined ? undefined : virtio.find(root)?.command("info"))) as BlkInfo | undefined;
  if (info === undefined || !isSameFile(info.path, path)) return;
  throw new BatonError("ROOT_DISK", `The image ${path} is the guest's root disk '${root}': it cannot be plugged again`);
}

function isSameFile(left: string, right: string): boolean {
  try {
    const [a, b] = [statSync(left), statSync(right)];
    return a.isBlockDevice() && b.isBlockDevice() ? a.rdev === b.rdev : a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}
