import type { NetInfo, VirtioMmioDevice } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import { type Command, type CommandContext, defineCommand } from "../command.js";
import { driverName } from "../monitor/device-tree.js";
import { arrayOf, bool, int, nothing, object, oneOf, str } from "../schema.js";

/** The VM's network cards. */
const cards = ({ vm }: CommandContext): readonly VirtioMmioDevice[] =>
  vm.machine.virtio.devices.filter(({ description }) => description.model === "virtio-net");

function card(context: CommandContext, name: string): VirtioMmioDevice {
  const found = cards(context).find((device) => device.id === name);
  if (found === undefined) throw new BatonError("DEVICE_NOT_FOUND", `Device '${name}' not found`);
  return found;
}

/** Network cards. */
export const networkCommands: readonly Command[] = [
  defineCommand({
    name: "set_link",
    doc: "Plugs a network card's cable in or out, which the guest sees.",
    monitor: {
      parameters: [
        { name: "name", kind: "word", choices: (context) => cards(context).map(({ id }) => id) },
        { name: "up", kind: "switch" },
      ],
      usage: "name on|off",
      help: "change the link status of a network adapter",
    },
    arguments: {
      name: { type: str, doc: "the card's id" },
      up: { type: bool, doc: "whether it is plugged in" },
    },
    returns: nothing,
    errors: { DEVICE_NOT_FOUND: "there is no such card" },
    async handler(context, { name, up }) {
      await card(context, name).command("set-link", { up });
      return {};
    },
  }),
  defineCommand({
    name: "info network",
    doc: "The network cards and what they stand on.",
    monitorOnly: true,
    monitor: { help: "show the network state", render: (text) => text },
    arguments: {},
    returns: str,
    handler: async (context) => {
      const texts = cards(context).map(async (device) => {
        const { mac, linkUp, vhost, interface: tap } = (await device.command("info")) as NetInfo;
        const host = tap === "" ? "type=socket" : `type=tap,ifname=${tap}${vhost ? ",vhost=on" : ""}`;
        const card = `index=0,type=nic,model=${driverName(device)},macaddr=${mac}${linkUp ? "" : ",link=off"}`;
        return `${device.id}: ${card}\n \\ ${device.id}: index=0,${host}\n`;
      });
      return (await Promise.all(texts)).join("");
    },
  }),
  defineCommand({
    name: "query-rx-filter",
    doc: "Which packets the guests' drivers asked for. The cards do not filter by it: a bridge knows better.",
    arguments: { name: { type: str, optional: true, doc: "one card's id; all of them without it" } },
    returns: arrayOf(
      object({
        name: { type: str, doc: "the card's id" },
        promiscuous: { type: bool },
        multicast: { type: oneOf("normal", "none", "all") },
        unicast: { type: oneOf("normal", "none", "all") },
        vlan: { type: oneOf("normal", "none", "all"), doc: "always `all`" },
        "broadcast-allowed": { type: bool, doc: "always true" },
        "multicast-overflow": { type: bool, doc: "whether the list was too long to be kept" },
        "unicast-overflow": { type: bool, doc: "whether the list was too long to be kept" },
        "main-mac": { type: str, doc: "the address that the guest uses" },
        "vlan-table": { type: arrayOf(int), doc: "always empty" },
        "unicast-table": { type: arrayOf(str) },
        "multicast-table": { type: arrayOf(str) },
      }),
    ),
    errors: { DEVICE_NOT_FOUND: "there is no such card" },
    handler: (context, { name }) =>
      Promise.all(
        (name === undefined ? cards(context) : [card(context, name)]).map(async (device) => {
          const { mac, filter } = (await device.command("info")) as NetInfo;
          return {
            name: device.id,
            promiscuous: filter.promiscuous,
            multicast: filter.allMulticast ? ("all" as const) : ("normal" as const),
            unicast: "normal" as const,
            vlan: "all" as const,
            "broadcast-allowed": true,
            "multicast-overflow": filter.overflow,
            "unicast-overflow": filter.overflow,
            "main-mac": mac,
            "vlan-table": [],
            "unicast-table": [...filter.unicast],
            "multicast-table": [...filter.multicast],
          };
        }),
      ),
  }),
];
