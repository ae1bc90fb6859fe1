import { checkKeys, optionError, parseBool, parseInteger, parseSubOptions, type SubOptions } from "./grammar.js";
import type { ChardevOption, MetricsAddress, MonitorOption, MonOption, SurfaceAddress } from "./options.js";

/** `-qmp unix:PATH,server,nowait`, `tcp:HOST:PORT,server=on,wait=off`, `stdio`. */
export function parseQmp(option: string, text: string): SurfaceAddress {
  return parseAddress(option, text, []).address;
}

/** `-monitor`: as {@link parseQmp}, with `prompt=`; null for `none`. */
export function parseMonitor(option: string, text: string): MonitorOption | null {
  if (text === "none") return null;
  const { address, pairs } = parseAddress(option, text, ["prompt"]);
  const prompt = pairs.get("prompt");
  return { address, ...(prompt !== undefined && { prompt }) };
}

/** `-metrics unix:PATH`. */
export function parseMetrics(option: string, text: string): MetricsAddress {
  const match = /^unix:(.+)$/.exec(text);
  if (match === null) throw optionError(option, `'${text}' is not unix:PATH`);
  const parsed = parseSubOptions(option, match[1] as string, "always");
  checkKeys(option, parsed, []);
  if (!parsed.first) throw optionError(option, "needs a path");
  return { kind: "unix", path: parsed.first };
}

/** `-mon chardev=ID,mode=readline|control`. */
export function parseMon(option: string, text: string): MonOption {
  const { first, pairs } = parseSubOptions(option, text, true);
  checkKeys(option, { first, pairs }, ["chardev", "mode", "id", "pretty", "prompt"]);
  const chardev = pairs.get("chardev") ?? first;
  const mode = pairs.get("mode") ?? "readline";
  const prompt = pairs.get("prompt");
  if (chardev === undefined || chardev === "") throw optionError(option, "needs chardev=");
  if (mode !== "readline" && mode !== "control")
    throw optionError(option, `mode=${mode} is neither readline nor control`);
  if (prompt !== undefined && mode === "control") throw optionError(option, "prompt= is for mode=readline");
  return { chardev, mode, ...(prompt !== undefined && { prompt }) };
}

/** Where a `-mon` is served: its character device, which has to be stdio or a listening socket. */
export function monAddress({ chardev }: MonOption, chardevs: ReadonlyMap<string, ChardevOption>): SurfaceAddress {
  const backend = chardevs.get(chardev);
  if (backend === undefined) throw optionError("mon", `there is no chardev '${chardev}'`);
  if (backend.kind === "stdio") return { kind: "stdio" };
  if (backend.kind === "unix") return { kind: "unix", path: backend.path, wait: false };
  throw optionError("mon", `chardev '${chardev}' is neither stdio nor a socket with server=on`);
}

function parseAddress(
  option: string,
  text: string,
  more: readonly string[],
): { readonly address: SurfaceAddress; readonly pairs: SubOptions["pairs"] } {
  const stdio = /^stdio(?=,|$)/.test(text);
  const match = stdio ? ["", "stdio", text] : /^(unix|tcp):(.*)$/.exec(text);
  if (match === null) throw optionError(option, `'${text}' is neither unix:PATH, tcp:HOST:PORT nor stdio`);
  const parsed = parseSubOptions(option, match[2] as string, "always");
  const { pairs } = parsed;
  checkKeys(option, parsed, [...(stdio ? [] : ["server", "wait", "nowait"]), ...more]);
  if (stdio) return { address: { kind: "stdio" }, pairs };
  requireServer(option, pairs);
  const bool = (key: string, fallback: string) => parseBool(option, key, pairs.get(key) ?? fallback);
  const wait = bool("wait", "on") && !bool("nowait", "off");
  const address = parsed.first ?? "";
  if (address === "") throw optionError(option, "needs a path or an address");
  if (match[1] === "unix") return { address: { kind: "unix", path: address, wait }, pairs };
  const tcp = /^(?:\[(.+)\]|([^:]*)):(\d+)$/.exec(address);
  if (tcp === null) throw optionError(option, `'${address}' is not HOST:PORT`);
  const port = parseInteger(option, "port", tcp[3] as string, 0, 65535);
  return { address: { kind: "tcp", host: tcp[1] ?? (tcp[2] || "127.0.0.1"), port, wait }, pairs };
}

/** Whether a socket's sub-options make it a server. */
export function isServer(option: string, pairs: ReadonlyMap<string, string>): boolean {
  return parseBool(option, "server", pairs.get("server") ?? "off");
}

/** Refuses sockets that are no servers. */
export function requireServer(option: string, pairs: ReadonlyMap<string, string>): void {
  if (!isServer(option, pairs)) {
    throw optionError(option, "only servers are supported", "Add ,server=on,wait=off (or ,server,nowait)");
  }
}
