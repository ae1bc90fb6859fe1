import { type Command, defineCommand } from "../command.js";
import { deviceTree } from "../monitor/device-tree.js";
import { memoryTree } from "../monitor/memory-tree.js";
import { str } from "../schema.js";

/** What the machine is made of. */
export const deviceTreeCommands: readonly Command[] = [
  defineCommand({
    name: "info qtree",
    doc: "The devices, each on its bus.",
    monitorOnly: true,
    monitor: { help: "show device tree", render: (text) => text },
    arguments: {},
    returns: str,
    handler: ({ vm }) => deviceTree(vm),
  }),
  defineCommand({
    name: "info mtree",
    doc: "The guest's address spaces, and who answers where.",
    monitorOnly: true,
    monitor: { help: "show memory tree", render: (text) => text },
    arguments: {},
    returns: str,
    handler: ({ vm }) => memoryTree(vm.machine),
  }),
];
