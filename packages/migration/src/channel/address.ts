import { BatonError, type SocketAddress } from "@baton/linux";

/** Where a migration stream goes to or comes from. */
export type MigrationAddress =
  /** A file; with an offset in bytes, a part of one that other things share. */
  | { readonly kind: "file"; readonly path: string; readonly offset?: number }
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  /** An open descriptor: its number, or the name that it was handed over under. */
  | { readonly kind: "fd"; readonly name: string }
  /** The standard input (of a stream that is written) or output (of one that is read) of a shell's command. */
  | { readonly kind: "exec"; readonly command: string };

function refuse(uri: string, reason: string, hint?: string): BatonError {
  return new BatonError("CHANNEL_ADDRESS", `migration address '${uri}': ${reason}`, { hint, details: { uri } });
}

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

function parseOffset(uri: string, text: string): number {
  const match = /^(0x[0-9a-f]+|\d+)([bkmgt]?)$/i.exec(text);
  const offset = match ? Number(match[1]) * (UNITS[match[2]?.toLowerCase() ?? ""] as number) : Number.NaN;
  if (!Number.isSafeInteger(offset)) throw refuse(uri, `offset '${text}' is no number of bytes`);
  return offset;
}

function parseFile(uri: string, rest: string): MigrationAddress {
  const comma = rest.lastIndexOf(",offset=");
  const path = comma < 0 ? rest : rest.slice(0, comma);
  if (path === "" || path.includes("\0")) throw refuse(uri, "it names no file");
  if (comma < 0) return { kind: "file", path };
  return { kind: "file", path, offset: parseOffset(uri, rest.slice(comma + ",offset=".length)) };
}

function parseTcp(uri: string, rest: string): MigrationAddress {
  const match = /^(?:\[([^\]]*)\]|([^:,]*)):(\d+)(,.*)?$/.exec(rest);
  const port = Number(match?.[3]);
  if (!match || port > 65535) throw refuse(uri, "it is not tcp:HOST:PORT with a port of at most 65535");
  if (match[4]) throw refuse(uri, `options are not supported: '${match[4].slice(1)}'`);
  return { kind: "tcp", host: match[1] ?? match[2] ?? "", port };
}

/**
 * Reads an address in QEMU's grammar: `file:PATH[,offset=N]`, `unix:PATH`, `tcp:HOST:PORT`, `fd:N`, `exec:COMMAND`.
 * Numbers take the suffixes B, K, M, G and T. Throws `CHANNEL_ADDRESS`. QEMU: docs/devel/migration/main.rst, "Transports".
 */
export function parseMigrationAddress(uri: string): MigrationAddress {
  const colon = uri.indexOf(":");
  if (colon <= 0) throw refuse(uri, "unknown migration protocol", "Use file:, unix:, tcp:, fd: or exec:");
  const rest = uri.slice(colon + 1);
  switch (uri.slice(0, colon)) {
    case "file":
      return parseFile(uri, rest);
    case "unix":
      if (rest === "" || rest.includes("\0")) throw refuse(uri, "it names no socket");
      return { kind: "unix", path: rest };
    case "tcp":
      return parseTcp(uri, rest);
    case "fd":
      if (rest === "") throw refuse(uri, "it names no descriptor");
      return { kind: "fd", name: rest };
    case "exec":
      if (rest === "" || rest.includes("\0")) throw refuse(uri, "it names no command");
      return { kind: "exec", command: rest };
    default:
      throw refuse(uri, `unknown migration protocol '${uri.slice(0, colon)}'`, "Use file:, unix:, tcp:, fd: or exec:");
  }
}

/** The address as {@link parseMigrationAddress} reads it. */
export function formatMigrationAddress(address: MigrationAddress): string {
  switch (address.kind) {
    case "file":
      return `file:${address.path}${address.offset === undefined ? "" : `,offset=${address.offset}`}`;
    case "unix":
      return `unix:${address.path}`;
    case "tcp":
      return `tcp:${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
    case "fd":
      return `fd:${address.name}`;
    case "exec":
      return `exec:${address.command}`;
    default:
      throw address satisfies never;
  }
}

/** The socket of an address with one. */
export function socketAddress(address: MigrationAddress & { kind: "unix" | "tcp" }): SocketAddress {
  if (address.kind === "unix") return { kind: "unix", path: address.path };
  return { kind: "inet", host: address.host === "" ? "0.0.0.0" : address.host, port: address.port };
}
