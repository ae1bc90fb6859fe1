import { virtioNet } from "@baton/devices-virtio";
import { BatonError, dupFd, type Fd } from "@baton/linux";
import type { NetBackend } from "../../backend/backends.js";
import { type Command, type CommandCall, defineCommand } from "../command.js";
import { hotplugForms } from "../monitor/hotplug-forms.js";
import { bool, int, nothing, oneOf, type StaticMembers, str } from "../schema.js";
import { checkUnused } from "./backend-use.js";
import { descriptorsOf } from "./descriptors.js";

const MAX_QUEUES = 16;
const names = "names of `getfd` or numbers of inherited descriptors, with colons between";

const netArguments = {
  id: { type: str, doc: "its name; the card that `device_add` makes on it has the same id" },
  type: { type: oneOf("tap"), optional: true, doc: "only taps" },
  ifname: { type: str, optional: true, doc: "the tap's interface" },
  fd: {
    type: str,
    optional: true,
    doc: "an open tap instead: the name of a `getfd`, or the number of an inherited one",
  },
  fds: { type: str, optional: true, doc: `one for each pair of queues: ${names}` },
  queues: { type: int, optional: true, doc: "pairs of queues; as many as the slot has" },
  vhost: { type: bool, optional: true, doc: "has the kernel's vhost-net move the packets; not unless said so" },
  vhostfd: { type: str, optional: true, doc: "an open `/dev/vhost-net`, as `fd`" },
  vhostfds: { type: str, optional: true, doc: "one for each pair of queues, as `fds`" },
  script: { type: oneOf("no"), optional: true, doc: "no scripts are run" },
  downscript: { type: oneOf("no"), optional: true, doc: "no scripts are run" },
} as const;

/** What network cards are plugged in on. */
export const netdevCommands: readonly Command[] = [
  defineCommand({
    name: "netdev_add",
    doc: "Names a tap for a network card that `device_add` plugs in. It is tried out at once. Descriptors that are given by name belong to it from then on.",
    monitor: hotplugForms.netdev_add,
    arguments: netArguments,
    returns: nothing,
    errors: {
      DUPLICATE_ID: "there is a back end of that name",
      BACKEND_IN_USE: "a card of that name is there already",
      FD_NOT_FOUND: "there is no descriptor of that name",
      TAP_OPEN: "it is no tap, or cannot be opened",
      VHOST_UNAVAILABLE: "vhost-net cannot be used",
    },
    async handler(context, args, call) {
      const { nets } = context.vm.backends;
      const { id } = args;
      if (id === "") throw new BatonError("INVALID_ARGUMENT", "Parameter 'id' expects a name");
      checkUnused(context, id, "network back end");
      nets.check(id);
      const taps = new GivenFds(call, id, "fd", args.fd, args.fds);
      const vhosts = new GivenFds(call, id, "vhostfd", args.vhostfd, args.vhostfds);
      const options = netOptions(args, taps, vhosts);
      await virtioNet({ id, ...options })
        .open((_name, _id, open) => open(), { ramBytes: 0 })
        .close(false);
      const fds = [...taps.take(), ...vhosts.take()];
      nets.add({ id, options: netOptions(args, taps, vhosts), fds });
      return {};
    },
  }),
  defineCommand({
    name: "netdev_del",
    doc: "Forgets a tap that `netdev_add` has named, once its card is unplugged.",
    monitor: hotplugForms.netdev_del,
    arguments: { id: { type: str, doc: "its name" } },
    returns: nothing,
    errors: { BACKEND_MISSING: "there is no such back end", BACKEND_IN_USE: "a card stands on it" },
    handler(context, { id }) {
      checkUnused(context, id, "network back end");
      context.vm.backends.nets.delete(id);
      return {};
    },
  }),
];

/** Descriptors that arguments refer to, by name or by number. */
class GivenFds {
  readonly #call: CommandCall;
  readonly #names: readonly string[] | undefined;
  #taken: readonly Fd[] | undefined;

  constructor(call: CommandCall, id: string, key: string, one: string | undefined, several: string | undefined) {
    if (one !== undefined && several !== undefined) {
      throw new BatonError("INVALID_ARGUMENT", `Network back end '${id}' takes one of '${key}' and '${key}s'`);
    }
    this.#call = call;
    this.#names = one === undefined ? several?.split(":") : [one];
    if (new Set(this.#names).size !== (this.#names?.length ?? 0)) {
      throw new BatonError("INVALID_ARGUMENT", `Network back end '${id}': '${key}s' names a descriptor twice`);
    }
  }

  /** Their numbers; undefined where none are given. */
  get raw(): number[] | undefined {
    const taken = this.#taken;
    if (taken !== undefined) return this.#names && taken.map(({ raw }) => raw);
    return this.#names?.map((name) => (isNumber(name) ? Number(name) : descriptorsOf(this.#call).get(name).raw));
  }

  /** Makes them the caller's: the client's by name, and duplicates of those that were inherited. */
  take(): readonly Fd[] {
    this.#taken = (this.#names ?? []).map((name) =>
      isNumber(name) ? dupFd(Number(name)) : descriptorsOf(this.#call).take(name),
    );
    return this.#taken;
  }
}

const isNumber = (name: string) => /^\d{1,9}$/.test(name);

function netOptions(args: StaticMembers<typeof netArguments>, taps: GivenFds, vhosts: GivenFds): NetBackend {
  const refuse = (problem: string) => new BatonError("INVALID_ARGUMENT", `Network back end '${args.id}': ${problem}`);
  const [fds, vhostFds] = [taps.raw, vhosts.raw];
  if (args.ifname !== undefined && fds !== undefined) throw refuse("takes one of 'ifname' and 'fd', 'fds'");
  const queues = args.queues ?? fds?.length ?? vhostFds?.length ?? 1;
  if (queues < 1 || queues > MAX_QUEUES) throw refuse(`'queues' must be 1 to ${MAX_QUEUES}, not ${queues}`);
  for (const list of [fds, vhostFds]) {
    if (list !== undefined && list.length !== queues) throw refuse(`${list.length} descriptors for ${queues} queues`);
  }
  if (args.vhost === false && vhostFds !== undefined) throw refuse("descriptors for vhost, and no vhost");
  const vhost = args.vhost ?? vhostFds !== undefined;
  return {
    queues,
    backend: { kind: "tap", ...(args.ifname !== undefined && { name: args.ifname }), ...(fds && { fds }) },
    ...(vhost && { vhost: vhostFds === undefined ? true : { fds: vhostFds } }),
  };
}
