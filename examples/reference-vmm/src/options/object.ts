import { DEFAULT_POLL_MAX_NS, type IothreadConfig } from "../config.js";
import { checkKeys, optionError, parseInteger, parseSubOptions, type SubOptions } from "./grammar.js";
import type { VmmOptions } from "./options.js";
import { parseMemoryObject } from "./values.js";

const MAX_NS = 1_000_000_000;

/** `-object TYPE,id=,...`: takes it into the options. */
export function applyObject(options: VmmOptions, value: string, option: string): void {
  const parsed = parseSubOptions(option, value, true);
  const type = parsed.first ?? parsed.pairs.get("qom-type") ?? "";
  if (type === "") throw optionError(option, "needs a type", "Such as memory-backend-memfd, iothread or rng-random");
  const id = parsed.pairs.get("id");
  if (id === undefined || id === "" || id.length > 255) {
    throw optionError(option, `${type} needs id=, of at most 255 characters`);
  }
  const taken = options.objects.has(id) || options.rngs.has(id) || options.iothreads.some((other) => other.id === id);
  if (taken) throw optionError(option, `the id '${id}' is taken`);
  if (type === "iothread") options.iothreads.push(parseIothread(option, id, parsed));
  else if (type === "rng-random") options.rngs.set(id, parseRng(option, id, parsed));
  else options.objects.set(id, parseMemoryObject(option, type, id, parsed));
}

function parseIothread(option: string, id: string, parsed: SubOptions): IothreadConfig {
  checkKeys(option, parsed, ["qom-type", "id", "poll-max-ns", "poll-grow", "poll-shrink", "aio-max-batch"]);
  const ns = (key: string, fallback: number) =>
    parsed.pairs.has(key) ? parseInteger(option, key, parsed.pairs.get(key) as string, 0, MAX_NS) : fallback;
  return {
    id,
    polling: {
      maxNs: ns("poll-max-ns", DEFAULT_POLL_MAX_NS),
      grow: ns("poll-grow", 0),
      shrink: ns("poll-shrink", 0),
    },
  };
}

function parseRng(option: string, id: string, parsed: SubOptions): { readonly path: string } {
  checkKeys(option, parsed, ["qom-type", "id", "filename"]);
  const path = parsed.pairs.get("filename");
  if (path === undefined || path === "") throw optionError(option, `rng-random '${id}' needs filename=`);
  return { path };
}
