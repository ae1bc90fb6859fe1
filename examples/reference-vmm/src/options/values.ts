import {
  checkKeys,
  optionError,
  parseBool,
  parseInteger,
  parseSize,
  parseSubOptions,
  type SubOptions,
} from "./grammar.js";
import type { ChardevOption, MemoryObject, VmmOptions } from "./options.js";
import { isServer, requireServer } from "./surface.js";

const MAX_SMP = 254;

/**
 * `-smp`: missing parts of the topology are inferred: sockets, as StratoVirt's documents show it; where they are given,
 * cores; where these are too, threads.
 */
export function parseSmp(option: string, text: string): NonNullable<VmmOptions["smp"]> {
  const parsed = parseSubOptions(option, text, true);
  checkKeys(option, parsed, ["cpus", "maxcpus", "sockets", "dies", "clusters", "cores", "threads"]);
  const given = (key: string, text = parsed.pairs.get(key)) =>
    text === undefined ? undefined : parseInteger(option, key, text, 1, MAX_SMP);
  const parts = { sockets: given("sockets"), cores: given("cores"), threads: given("threads") };
  const dies = given("dies") ?? 1;
  const clusters = given("clusters") ?? 1;
  const product = (parts.sockets ?? 1) * dies * clusters * (parts.cores ?? 1) * (parts.threads ?? 1);
  const wanted = given("cpus", parsed.pairs.get("cpus") ?? parsed.first);
  const most = wanted === undefined || parts.sockets !== undefined ? Math.max(wanted ?? 1, product) : wanted;
  const maxcpus = given("maxcpus") ?? parseInteger(option, "maxcpus", `${most}`, 1, MAX_SMP);
  const cpus = wanted ?? maxcpus;
  const inferred = Math.max(1, Math.floor(maxcpus / product));
  const sockets = parts.sockets ?? inferred;
  const cores = (parts.cores ?? (parts.sockets === undefined ? 1 : inferred)) * clusters;
  const all = parts.sockets !== undefined && parts.cores !== undefined;
  const threads = parts.threads ?? (all ? inferred : 1);
  if (maxcpus < cpus) throw optionError(option, `maxcpus (${maxcpus}) is below cpus (${cpus})`);
  if (sockets * dies * cores * threads !== maxcpus) {
    const shape = `sockets (${sockets}) * dies (${dies}) * cores (${cores}) * threads (${threads})`;
    throw optionError(option, `${shape} is not maxcpus (${maxcpus})`);
  }
  return { cpus, maxcpus, sockets, dies, cores, threads };
}

/** `-object memory-backend-...`. */
export function parseMemoryObject(option: string, type: string, id: string, parsed: SubOptions): MemoryObject {
  const kind = /^memory-backend-(ram|file|memfd)$/.exec(type)?.[1] as MemoryObject["kind"] | undefined;
  if (kind === undefined)
    throw optionError(
      option,
      `object '${type}' is not supported`,
      "Supported: memory-backend-ram, memory-backend-file, memory-backend-memfd, iothread, rng-random",
    );
  const known = [
    "qom-type",
    "id",
    "size",
    "share",
    "prealloc",
    "mem-prealloc",
    "dump",
    "dump-guest-core",
    "merge",
    "align",
  ];
  if (kind === "file") known.push("mem-path", "discard-data", "readonly");
  if (kind === "memfd") known.push("hugetlb", "hugetlbsize", "seal");
  checkKeys(option, parsed, known);
  const get = (key: string) => parsed.pairs.get(key);
  const bool = (key: string) => (get(key) === undefined ? undefined : parseBool(option, key, get(key) as string));
  const size = get("size");
  if (size === undefined) throw optionError(option, `${type} '${id}' needs size=`);
  const path = get("mem-path");
  if (kind === "file" && path === undefined) throw optionError(option, `${type} '${id}' needs mem-path=`);
  const align = get("align");
  const share = bool("share");
  const dump = bool("dump") ?? bool("dump-guest-core");
  const huge = bool("hugetlb") ? (get("hugetlbsize") ?? "2M") : undefined;
  if (huge !== undefined && huge !== "2M" && huge !== "1G")
    throw optionError(option, `hugetlbsize=${huge} is neither 2M nor 1G`);
  return {
    id,
    kind,
    size: parseSize(option, "size", size),
    prealloc: bool("prealloc") ?? bool("mem-prealloc") ?? false,
    ...(path !== undefined && { path }),
    ...(align !== undefined && { align: Number(parseSize(option, "align", align)) }),
    ...(share !== undefined && { share }),
    ...(dump !== undefined && { dump }),
    ...(huge !== undefined && { hugePages: huge }),
  };
}

/**
 * `-chardev` and `-serial`: `file:PATH`, `unix:PATH,...`, `file,path=`, `socket,path=[,server=on,wait=off]`. A socket
 * that is no server is connected to; `unix:PATH` has to say which.
 */
export function parseChardev(
  option: string,
  text: string,
): { readonly id: string | undefined; readonly backend: ChardevOption } {
  const colon = /^(file|unix):(.*)$/.exec(text);
  const parsed = parseSubOptions(option, colon ? (colon[2] as string) : text, colon ? "always" : true);
  const kind = colon ? (colon[1] as string) : (parsed.first ?? parsed.pairs.get("backend") ?? "");
  checkKeys(option, parsed, ["id", "path", "server", "wait", "nowait", "append", "mux", "signal", "backend"]);
  const id = parsed.pairs.get("id");
  const path = colon ? parsed.first : parsed.pairs.get("path");
  const needPath = (): string => {
    if (!path) throw optionError(option, `${kind} needs a path`);
    return path;
  };
  switch (kind) {
    case "stdio":
    case "pty":
    case "null":
      return { id, backend: { kind } };
    case "file":
      return {
        id,
        backend: { kind, path: needPath(), append: parseBool(option, "append", parsed.pairs.get("append") ?? "off") },
      };
    case "unix":
    case "socket":
      if (colon && !parsed.pairs.has("server")) requireServer(option, parsed.pairs);
      return { id, backend: { kind: isServer(option, parsed.pairs) ? "unix" : "unix-client", path: needPath() } };
    default:
      throw optionError(
        option,
        `back end '${kind}' is not supported`,
        "Supported: stdio, pty, null, file, socket (unix)",
      );
  }
}
