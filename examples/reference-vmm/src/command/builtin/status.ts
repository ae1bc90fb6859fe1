import { isRunning } from "../../run-state.js";
import { type Command, defineCommand } from "../command.js";
import { bool, int, object, str } from "../schema.js";
import { version } from "../version.js";

/** What the VM is and how it fares. */
export const statusCommands: readonly Command[] = [
  defineCommand({
    name: "query-status",
    doc: "The run state.",
    monitor: {
      name: "info status",
      help: "show the current VM status (running|paused)",
      render({ running, status }) {
        const why = running || status === "paused" ? "" : ` (${status})`;
        return `VM status: ${running ? "running" : "paused"}${why}\n`;
      },
    },
    arguments: {},
    returns: object({
      status: { type: str, doc: "QEMU's `RunState`: `running`, `paused`, `prelaunch`, `shutdown`, …" },
      running: { type: bool, doc: "whether the vCPUs run" },
      singlestep: { type: bool, doc: "always false" },
    }),
    handler: ({ vm }) => ({ status: vm.runState, running: isRunning(vm.runState), singlestep: false }),
  }),
  defineCommand({
    name: "query-name",
    doc: "The guest's name, if it has one.",
    monitor: {
      name: "info name",
      help: "show the current VM name",
      render: ({ name }) => (name === undefined ? "" : `${name}\n`),
    },
    arguments: {},
    returns: object({ name: { type: str, optional: true, doc: "what `-name` gave" } }),
    handler: ({ vm }) => (vm.config.name === undefined ? {} : { name: vm.config.name }),
  }),
  defineCommand({
    name: "query-kvm",
    doc: "Whether KVM runs the guest, which it always does.",
    monitor: {
      name: "info kvm",
      help: "show KVM information",
      render: ({ enabled }) => `kvm support: ${enabled ? "enabled" : "disabled"}\n`,
    },
    arguments: {},
    returns: object({
      enabled: { type: bool, doc: "always true" },
      present: { type: bool, doc: "always true" },
    }),
    handler: () => ({ enabled: true, present: true }),
  }),
  defineCommand({
    name: "query-version",
    doc: "The version, the same as in the greeting.",
    monitor: {
      name: "info version",
      help: "show the version of QEMU that is spoken, and of Baton",
      render: ({ qemu, package: own }) => `${qemu.major}.${qemu.minor}.${qemu.micro}${own}\n`,
    },
    arguments: {},
    returns: object({
      qemu: {
        type: object({ major: { type: int }, minor: { type: int }, micro: { type: int } }),
        doc: "the QEMU whose vocabulary is spoken",
      },
      package: { type: str, doc: "Baton's own version" },
    }),
    handler: () => version,
  }),
];
