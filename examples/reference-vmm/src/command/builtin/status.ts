import { isRunning } from "../../run-state.js";
import { type Command, defineCommand } from "../command.js";
import { bool, int, object, str } from "../schema.js";
import { version } from "../version.js";

/** What the VM is and how it fares. */
export const statusCommands: readonly Command[] = [
  defineCommand({
    name: "query-status",
    doc: "The run state.",
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
    arguments: {},
    returns: object({ name: { type: str, optional: true, doc: "what `-name` gave" } }),
    handler: ({ vm }) => (vm.config.name === undefined ? {} : { name: vm.config.name }),
  }),
  defineCommand({
    name: "query-kvm",
    doc: "Whether KVM runs the guest, which it always does.",
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
