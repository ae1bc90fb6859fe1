import { type Command, defineCommand } from "../command.js";
import { arrayOf, int, object, str } from "../schema.js";

/** Device threads. */
export const iothreadCommands: readonly Command[] = [
  defineCommand({
    name: "query-iothreads",
    doc: "The iothreads that the VM was given.",
    arguments: {},
    returns: arrayOf(
      object({
        id: { type: str },
        "thread-id": { type: int, doc: "the id of its thread on the host" },
        "poll-max-ns": { type: int, doc: "the longest busy polling" },
        "poll-grow": { type: int },
        "poll-shrink": { type: int },
        "aio-max-batch": { type: int, doc: "always 0" },
      }),
    ),
    handler: ({ vm }) =>
      [...vm.machine.virtio.iothreads].map(([id, { tid, polling }]) => ({
        id,
        "thread-id": tid,
        "poll-max-ns": polling.maxNs,
        "poll-grow": polling.grow ?? 0,
        "poll-shrink": polling.shrink ?? 0,
        "aio-max-batch": 0,
      })),
  }),
];
