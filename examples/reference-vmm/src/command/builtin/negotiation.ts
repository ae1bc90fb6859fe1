import { BatonError } from "@baton/linux";
import { type Command, defineCommand } from "../command.js";
import { arrayOf, nothing, oneOf } from "../schema.js";

/** What clients begin with. */
export const negotiationCommands: readonly Command[] = [
  defineCommand({
    name: "qmp_capabilities",
    doc: "Ends QMP's negotiation of capabilities. No other command needs it, and it may be repeated.",
    arguments: { enable: { type: arrayOf(oneOf("oob")), optional: true, doc: "capabilities to use; none is offered" } },
    returns: nothing,
    errors: { CAPABILITY_NOT_AVAILABLE: "a capability was asked for that is not offered" },
    handler: (_context, { enable = [] }) => {
      if (enable.length > 0) {
        throw new BatonError("CAPABILITY_NOT_AVAILABLE", `Capability ${enable.join(", ")} not available`);
      }
      return {};
    },
  }),
];
