import type { BalloonInfo, VirtioMmioDevice } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import { type Command, type CommandContext, defineCommand } from "../command.js";
import { int, nothing, object } from "../schema.js";

/** The balloon with a driver behind it. Fails with `DEVICE_NOT_ACTIVE` where either is missing. */
async function activeBalloon({ vm }: CommandContext): Promise<{ device: VirtioMmioDevice; info: BalloonInfo }> {
  const device = vm.machine.virtio.devices.find(({ description }) => description.model === "virtio-balloon");
  const info = (await device?.command("query")) as BalloonInfo | undefined;
  if (device === undefined || !info?.active) {
    throw new BatonError("DEVICE_NOT_ACTIVE", "No balloon device has been activated");
  }
  return { device, info };
}

const errors = { DEVICE_NOT_ACTIVE: "there is no balloon, or the guest has no driver for it" };

/** The balloon. */
export const balloonCommands: readonly Command[] = [
  defineCommand({
    name: "balloon",
    doc: "Asks the guest to get along with so much memory; `BALLOON_CHANGED` tells how far it has come.",
    monitor: {
      parameters: [{ name: "value", kind: "size" }],
      usage: "target",
      help: "request VM to change its memory allocation (in MB)",
    },
    arguments: { value: { type: int, doc: "bytes; more than the guest's memory counts as all of it" } },
    returns: nothing,
    errors,
    async handler(context, { value }) {
      if (value < 1) throw new BatonError("INVALID_ARGUMENT", "Parameter 'value' expects a size of at least one byte");
      const { device } = await activeBalloon(context);
      await device.command("set", { bytes: value });
      return {};
    },
  }),
  defineCommand({
    name: "query-balloon",
    doc: "How much memory the guest has at the moment.",
    monitor: {
      name: "info balloon",
      help: "show balloon information",
      render: ({ actual }) => `balloon: actual=${Math.floor(actual / 2 ** 20)}\n`,
    },
    arguments: {},
    returns: object({ actual: { type: int, doc: "bytes" } }),
    errors,
    handler: async (context) => ({ actual: (await activeBalloon(context)).info.actual }),
  }),
];
