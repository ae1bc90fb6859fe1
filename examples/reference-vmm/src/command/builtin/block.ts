import type { BlkInfo, BlkStatisticsSnapshot, VirtioMmioDevice } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import { type Command, type CommandContext, defineCommand } from "../command.js";
import { renderBlock, renderBlockStatistics } from "../monitor/block-text.js";
import { devicePath } from "../qom-path.js";
import { any, arrayOf, bool, int, nothing, object, str } from "../schema.js";

/** The VM's disks. */
const disks = ({ vm }: CommandContext): readonly VirtioMmioDevice[] =>
  vm.machine.virtio.devices.filter(({ description }) => description.model === "virtio-blk");

function disk(context: CommandContext, id: string): VirtioMmioDevice {
  const found = disks(context).find((device) => device.id === id);
  if (found === undefined) throw new BatonError("DEVICE_NOT_FOUND", `Device '${id}' not found`);
  return found;
}

const sizes = { type: int, doc: "bytes" } as const;
const times = { type: int, doc: "nanoseconds" } as const;

/** Disks. */
export const blockCommands: readonly Command[] = [
  defineCommand({
    name: "query-block",
    doc: "The disks.",
    monitor: {
      name: "info block",
      help: "show info of all block devices",
      render: (blocks) => blocks.map(renderBlock).join("\n"),
    },
    arguments: {},
    returns: arrayOf(
      object({
        device: { type: str, doc: "its id" },
        qdev: { type: str, doc: "its path in the device tree" },
        type: { type: str, doc: "always `unknown`, as QEMU's" },
        removable: { type: bool, doc: "always false" },
        locked: { type: bool, doc: "always false" },
        inserted: {
          type: any,
          doc: "the image: `file`, `node-name`, `ro`, `drv`, `detect_zeroes`, `aio`, `cache`, `image` with its size in bytes",
        },
      }),
    ),
    handler: (context) =>
      Promise.all(
        disks(context).map(async (device) => {
          const info = (await device.command("info")) as BlkInfo;
          return {
            device: device.id,
            qdev: devicePath(device.id),
            type: "unknown",
            removable: false,
            locked: false,
            inserted: {
              file: info.path,
              "node-name": device.id,
              ro: info.readOnly,
              drv: "raw",
              detect_zeroes: info.detectZeroes,
              aio: info.aio,
              cache: { writeback: info.writeback, direct: info.direct, "no-flush": false },
              image: { filename: info.path, format: "raw", "virtual-size": info.size },
            },
          };
        }),
      ),
  }),
  defineCommand({
    name: "query-blockstats",
    doc: "What the disks have done since the VM was made.",
    monitor: {
      name: "info blockstats",
      help: "show block device statistics",
      render: (blocks) => blocks.map(renderBlockStatistics).join(""),
    },
    arguments: {},
    returns: arrayOf(
      object({
        device: { type: str, doc: "the disk's id" },
        "node-name": { type: str, doc: "the same" },
        stats: {
          type: object({
            rd_bytes: sizes,
            wr_bytes: sizes,
            unmap_bytes: sizes,
            rd_operations: { type: int },
            wr_operations: { type: int },
            flush_operations: { type: int },
            unmap_operations: { type: int },
            rd_merged: { type: int },
            wr_merged: { type: int },
            failed_rd_operations: { type: int },
            failed_wr_operations: { type: int },
            failed_flush_operations: { type: int },
            failed_unmap_operations: { type: int },
            rd_total_time_ns: times,
            wr_total_time_ns: times,
            flush_total_time_ns: times,
            unmap_total_time_ns: times,
          }),
          doc: "counts, bytes and times; writes of zeroes count as writes",
        },
      }),
    ),
    handler: (context) =>
      Promise.all(
        disks(context).map(async (device) => {
          const of = (await device.command("statistics")) as BlkStatisticsSnapshot;
          const zeroes = of["write-zeroes"];
          return {
            device: device.id,
            "node-name": device.id,
            stats: {
              rd_bytes: of.read.bytes,
              wr_bytes: of.write.bytes + zeroes.bytes,
              unmap_bytes: of.discard.bytes,
              rd_operations: of.read.operations,
              wr_operations: of.write.operations + zeroes.operations,
              flush_operations: of.flush.operations,
              unmap_operations: of.discard.operations,
              rd_merged: of.read.merged,
              wr_merged: of.write.merged,
              failed_rd_operations: of.read.failed,
              failed_wr_operations: of.write.failed + zeroes.failed,
              failed_flush_operations: of.flush.failed,
              failed_unmap_operations: of.discard.failed,
              rd_total_time_ns: Math.round(of.read.totalTimeNs),
              wr_total_time_ns: Math.round(of.write.totalTimeNs + zeroes.totalTimeNs),
              flush_total_time_ns: Math.round(of.flush.totalTimeNs),
              unmap_total_time_ns: Math.round(of.discard.totalTimeNs),
            },
          };
        }),
      ),
  }),
  defineCommand({
    name: "block_resize",
    doc: "Makes a disk another size while the guest runs, which the guest is told.",
    arguments: {
      device: { type: str, optional: true, doc: "the disk's id" },
      "node-name": { type: str, optional: true, doc: "the same" },
      size: { type: int, doc: "bytes, whole sectors of 512" },
    },
    returns: nothing,
    errors: { BLOCK_RESIZE: "the image cannot have that size", DEVICE_NOT_FOUND: "there is no such disk" },
    async handler(context, args) {
      const id = args.device ?? args["node-name"];
      if (id === undefined) throw new BatonError("INVALID_ARGUMENT", "One of 'device' and 'node-name' is needed");
      await disk(context, id).command("resize", { size: args.size });
      return {};
    },
  }),
];
