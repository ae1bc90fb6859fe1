import type { VirtioNetOptions } from "@baton/devices-virtio";
import { checkKeys, optionError, parseBool, parseInteger, parseSubOptions } from "./grammar.js";

/** A `-netdev`: what a network device stands on. */
export interface NetdevOption extends Pick<VirtioNetOptions, "backend" | "vhost"> {
  readonly id: string;
  /** Pairs of queues. */
  readonly queues: number;
}

const KEYS: readonly string[] = [
  "id",
  "ifname",
  "fd",
  "fds",
  "vhost",
  "vhostfd",
  "vhostfds",
  "queues",
  "script",
  "downscript",
  "type",
];

const MAX_QUEUES = 16;
const MAX_FD = 0x7fff_ffff;

/** `-netdev tap,id=,ifname=|fd=|fds=,...`. */
export function parseNetdev(option: string, text: string): NetdevOption {
  const parsed = parseSubOptions(option, text, true);
  checkKeys(option, parsed, KEYS);
  const { pairs } = parsed;
  const type = parsed.first ?? pairs.get("type") ?? "";
  if (type !== "tap") throw optionError(option, `'${type}' is not supported`, "Supported: tap");
  const id = pairs.get("id");
  if (id === undefined || id === "") throw optionError(option, "needs id=");
  for (const key of ["script", "downscript"]) {
    const script = pairs.get(key);
    if (script !== undefined && script !== "no") {
      throw optionError(option, `${key}=${script} is not supported`, "Prepare the interface first, and say no here");
    }
  }
  const fds = descriptors(option, pairs, "fd", "fds");
  const vhostFds = descriptors(option, pairs, "vhostfd", "vhostfds");
  const name = pairs.get("ifname");
  if (name !== undefined && fds !== undefined) throw optionError(option, "takes one of ifname= and fd=, fds=");
  const count = pairs.get("queues");
  const queues =
    count === undefined ? (fds?.length ?? vhostFds?.length ?? 1) : parseInteger(option, "queues", count, 1, MAX_QUEUES);
  for (const list of [fds, vhostFds]) {
    if (list !== undefined && list.length !== queues) {
      throw optionError(option, `${list.length} descriptors are given for ${queues} queues`);
    }
  }
  const vhostText = pairs.get("vhost");
  const vhost = vhostText === undefined ? vhostFds !== undefined : parseBool(option, "vhost", vhostText);
  if (!vhost && vhostFds !== undefined) throw optionError(option, "descriptors for vhost, and vhost=off");
  return {
    id,
    queues,
    backend: { kind: "tap", ...(name !== undefined && { name }), ...(fds !== undefined && { fds }) },
    ...(vhost && { vhost: vhostFds === undefined ? true : { fds: vhostFds } }),
  };
}

/** `fd=3` or `fds=3:4`. */
function descriptors(
  option: string,
  pairs: ReadonlyMap<string, string>,
  one: string,
  several: string,
): number[] | undefined {
  const [single, list] = [pairs.get(one), pairs.get(several)];
  if (single !== undefined && list !== undefined) throw optionError(option, `takes one of ${one}= and ${several}=`);
  const key = single === undefined ? several : one;
  const texts = single === undefined ? list?.split(":") : [single];
  const fds = texts?.map((text) => parseInteger(option, key, text, 0, MAX_FD));
  if (fds !== undefined && fds.length > MAX_QUEUES) throw optionError(option, `${key}= takes at most ${MAX_QUEUES}`);
  return fds;
}
