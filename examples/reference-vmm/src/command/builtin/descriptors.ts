import { BatonError } from "@baton/linux";
import type { ClientDescriptors } from "../client-descriptors.js";
import { type Command, type CommandCall, defineCommand } from "../command.js";
import { int, nothing, object, str } from "../schema.js";

const FD_MISSING = "no descriptor came with the command";
const FD_NOT_FOUND = "there is none of that name";

/** What the client has sent. Fails with `FD_MISSING` on a surface that carries no descriptors. */
export function descriptorsOf({ descriptors }: CommandCall): ClientDescriptors {
  if (descriptors !== undefined) return descriptors;
  throw new BatonError("FD_MISSING", "Descriptors can be given over a UNIX socket of QMP alone");
}

/** Descriptors that clients hand over. */
export const descriptorCommands: readonly Command[] = [
  defineCommand({
    name: "getfd",
    doc: "Names the descriptor that came with the command (SCM_RIGHTS), for `netdev_add`. It is closed when the client leaves.",
    arguments: { fdname: { type: str, doc: "its name; one that has the name already is closed" } },
    returns: nothing,
    errors: { FD_MISSING, FD_NAME: "the name is empty or begins with a digit", FD_LIMIT: "there are too many" },
    handler(_context, { fdname }, call) {
      descriptorsOf(call).name(fdname);
      return {};
    },
  }),
  defineCommand({
    name: "closefd",
    doc: "Closes a descriptor that `getfd` has named.",
    arguments: { fdname: { type: str, doc: "its name" } },
    returns: nothing,
    errors: { FD_NOT_FOUND },
    handler(_context, { fdname }, call) {
      descriptorsOf(call).take(fdname).close();
      return {};
    },
  }),
  defineCommand({
    name: "add-fd",
    doc: "Puts the descriptor that came with the command into a set, which `blockdev-add` knows as the file `/dev/fdset/N`. It stays when the client leaves.",
    arguments: {
      "fdset-id": { type: int, optional: true, doc: "the set; a new one without it" },
      opaque: { type: str, optional: true, doc: "accepted, and not kept" },
    },
    returns: object({
      "fdset-id": { type: int, doc: "the set's number" },
      fd: { type: int, doc: "the descriptor's number in this process" },
    }),
    errors: { FD_MISSING, FD_LIMIT: "there are too many" },
    handler({ vm }, args, call) {
      const fd = descriptorsOf(call).takeReceived();
      try {
        const { setId, fd: number } = vm.backends.fdSets.add(fd, args["fdset-id"]);
        return { "fdset-id": setId, fd: number };
      } catch (error) {
        fd.close();
        throw error;
      }
    },
  }),
  defineCommand({
    name: "remove-fd",
    doc: "Closes descriptors that `add-fd` has put into a set. Disks that use them have opened their own.",
    arguments: {
      "fdset-id": { type: int, doc: "the set" },
      fd: { type: int, optional: true, doc: "one of it; all without it" },
    },
    returns: nothing,
    errors: { FD_NOT_FOUND: "there is none" },
    handler({ vm }, args) {
      vm.backends.fdSets.remove(args["fdset-id"], args.fd);
      return {};
    },
  }),
];
