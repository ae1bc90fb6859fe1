import { type Command, defineCommand } from "../command.js";
import { nothing } from "../schema.js";

/** What starts, stops and ends the guest. */
export const lifecycleCommands: readonly Command[] = [
  defineCommand({
    name: "stop",
    doc: "Stops all vCPUs; does nothing unless the guest runs. `STOP` is sent before the answer.",
    monitor: { aliases: ["s"], help: "stop emulation" },
    arguments: {},
    returns: nothing,
    errors: { PAUSE_TIMEOUT: "a device of the embedder's did not answer in time; the guest runs on" },
    handler: async ({ vm }, _args, { signal }) => {
      await vm.pause({ signal });
      return {};
    },
  }),
  defineCommand({
    name: "cont",
    doc: "Lets the guest run, for the first time or on; does nothing while it runs. `RESUME` is sent before the answer.",
    monitor: { aliases: ["c"], help: "resume emulation" },
    arguments: {},
    returns: nothing,
    errors: { RESET_REQUIRED: "the guest has crashed or shut down: `Resetting the Virtual Machine is required`" },
    handler: async ({ vm }, _args, { signal }) => {
      await vm.resume({ signal });
      return {};
    },
  }),
  defineCommand({
    name: "quit",
    doc: "Ends the guest and the program. The answer comes first, then `SHUTDOWN`, then the end of the connection.",
    monitor: { aliases: ["q"], help: "quit the emulator" },
    arguments: {},
    returns: nothing,
    handler: (context, _args, { afterReply }) => {
      afterReply(async (connection) => {
        try {
          await context.vm.shutdown("host-qmp-quit");
        } catch {
          // Whatever keeps the guest from stopping ends with the program.
        }
        await connection.close();
        await context.quit();
      });
      return {};
    },
  }),
  defineCommand({
    name: "system_reset",
    doc: "Resets the machine, as its reset button would. `RESET` is sent before the answer.",
    monitor: { help: "reset the system" },
    arguments: {},
    returns: nothing,
    handler: async ({ vm }) => {
      await vm.reset("host-qmp-system-reset");
      return {};
    },
  }),
  defineCommand({
    name: "system_powerdown",
    doc: "Presses the power button. What the guest makes of it is its own affair; `SHUTDOWN` follows if it ends.",
    monitor: { help: "send system power down event" },
    arguments: {},
    returns: nothing,
    handler: async ({ vm }) => {
      await vm.powerdown();
      return {};
    },
  }),
];
