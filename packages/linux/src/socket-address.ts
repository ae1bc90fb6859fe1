import { isIPv4, isIPv6 } from "node:net";
import { AF_INET, AF_INET6, AF_UNIX, sockaddr_in, sockaddr_in6, sockaddr_un } from "./abi/socket.js";
import { BatonError } from "./errors.js";
import { anInt, aPath } from "./validate.js";

/** An address of a stream socket. `host` is an IP address or `localhost`: names are not resolved. */
export type SocketAddress =
  | { readonly kind: "unix"; readonly path: string }
  /** A name in the abstract namespace, which no file stands for. */
  | { readonly kind: "abstract"; readonly name: string }
  | { readonly kind: "inet"; readonly host: string; readonly port: number };

const PATH_BYTES = sockaddr_un.size - sockaddr_un.sun_path;

/** How messages write an address: a path, `@name`, `host:port`. */
export function formatAddress(address: SocketAddress): string {
  if (address.kind === "unix") return address.path;
  if (address.kind === "abstract") return `@${address.name}`;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The protocol family of an address, `AF_*`. */
export function addressFamily(address: SocketAddress): number {
  if (address.kind !== "inet") return AF_UNIX;
  return isIPv6(address.host) ? AF_INET6 : AF_INET;
}

function encodeUnix(name: Uint8Array, shown: string, terminated: boolean): Uint8Array {
  const needed = name.byteLength + (terminated ? 1 : 0);
  if (needed > PATH_BYTES) {
    throw new BatonError(
      "INVALID_ARGUMENT",
      `unix socket ${shown}: ${needed} bytes are more than the ${PATH_BYTES} that a unix address holds`,
      {
        hint: "use a shorter path",
        details: { bytes: needed, limit: PATH_BYTES },
      },
    );
  }
  const bytes = new Uint8Array(sockaddr_un.sun_path + needed);
  new DataView(bytes.buffer).setUint16(sockaddr_un.sun_family, AF_UNIX, true);
  bytes.set(name, sockaddr_un.sun_path);
  return bytes;
}

/** Parses eight groups, `::` and an IPv4 tail; node:net has checked the text. */
function ipv6Bytes(host: string): Uint8Array {
  const text = host.replace(
    /(\d+)\.(\d+)\.(\d+)\.(\d+)$/,
    (_, a, b, c, d) => `${((+a << 8) | +b).toString(16)}:${((+c << 8) | +d).toString(16)}`,
  );
  const [head = "", tail] = text.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array<string>(zeros).fill("0"), ...right];
  return Uint8Array.from(groups.flatMap((g) => [Number.parseInt(g, 16) >> 8, Number.parseInt(g, 16) & 0xff]));
}

/** The `struct sockaddr` of an address. Throws `INVALID_ARGUMENT` where a path or name exceeds 108 bytes. */
export function encodeAddress(address: SocketAddress): Uint8Array {
  if (address.kind === "unix") return encodeUnix(Buffer.from(aPath(address.path)), address.path, true);
  if (address.kind === "abstract") return encodeUnix(Buffer.from(`\0${address.name}`), `@${address.name}`, false);
  const host = address.host === "localhost" ? "127.0.0.1" : address.host;
  const port = anInt(address.port, "port", 0, 65535);
  if (isIPv4(host)) {
    const bytes = new Uint8Array(sockaddr_in.size);
    const data = new DataView(bytes.buffer);
    data.setUint16(sockaddr_in.sin_family, AF_INET, true);
    data.setUint16(sockaddr_in.sin_port, port);
    bytes.set(host.split(".").map(Number), sockaddr_in.sin_addr);
    return bytes;
  }
  if (!isIPv6(host) || host.includes("%")) {
    throw new BatonError("INVALID_ARGUMENT", `host must be an IP address or localhost, not ${host}`);
  }
  const bytes = new Uint8Array(sockaddr_in6.size);
  const data = new DataView(bytes.buffer);
  data.setUint16(sockaddr_in6.sin6_family, AF_INET6, true);
  data.setUint16(sockaddr_in6.sin6_port, port);
  bytes.set(ipv6Bytes(host), sockaddr_in6.sin6_addr);
  return bytes;
}

/** Reads a `struct sockaddr`; null for an unnamed socket or another family. */
export function decodeAddress(bytes: Uint8Array): SocketAddress | null {
  if (bytes.byteLength < 2) return null;
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (data.getUint16(0, true)) {
    case AF_UNIX: {
      const name = bytes.subarray(sockaddr_un.sun_path);
      if (name.byteLength === 0) return null;
      if (name[0] === 0) return { kind: "abstract", name: Buffer.from(name.subarray(1)).toString() };
      const end = name.indexOf(0);
      return { kind: "unix", path: Buffer.from(end < 0 ? name : name.subarray(0, end)).toString() };
    }
    case AF_INET: {
      const host = bytes.subarray(sockaddr_in.sin_addr, sockaddr_in.sin_addr + 4).join(".");
      return { kind: "inet", host, port: data.getUint16(sockaddr_in.sin_port) };
    }
    case AF_INET6: {
      const groups = Array.from({ length: 8 }, (_, i) => data.getUint16(sockaddr_in6.sin6_addr + 2 * i).toString(16));
      const host = new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
      return { kind: "inet", host, port: data.getUint16(sockaddr_in6.sin6_port) };
    }
    default:
      return null;
  }
}
