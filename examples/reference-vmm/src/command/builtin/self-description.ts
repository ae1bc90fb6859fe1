import { type Command, defineCommand } from "../command.js";
import { eventTable } from "../event-table.js";
import { schemaInfo } from "../introspection.js";
import { any, arrayOf, object, str } from "../schema.js";

/** What the management interface says of itself. */
export const selfDescriptionCommands: readonly Command[] = [
  defineCommand({
    name: "query-commands",
    doc: "All commands, sorted by name.",
    arguments: {},
    returns: arrayOf(object({ name: { type: str } })),
    handler: (_context, _args, { table }) => table.machineCommands.map(({ name }) => ({ name })),
  }),
  defineCommand({
    name: "query-qmp-schema",
    doc: "All commands and events with their types, as QEMU's `SchemaInfo`.",
    arguments: {},
    returns: arrayOf(any),
    handler: (_context, _args, { table }) => schemaInfo(table, eventTable),
  }),
];
