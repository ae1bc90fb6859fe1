import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { BatonError, type Fd, listen, listenPrivately, socketFile } from "@baton/linux";
import type { SurfaceAddress } from "../options/options.js";

/** A socket that listens for clients of a surface. */
export interface ListeningSocket {
  readonly listener: Fd;
  /** Removes the socket's file, unless another has taken its place. */
  removeFile(): void;
}

/**
 * Begins to listen at a path, for the owner alone, or at an address and port. `what` names the surface in messages.
 * Errors: `SOCKET_IN_USE`, `SOCKET_PATH`; `${what}_LISTEN` where a TCP address cannot be had.
 */
export async function openListeningSocket(
  address: Exclude<SurfaceAddress, { readonly kind: "stdio" }>,
  what: string,
): Promise<ListeningSocket> {
  if (address.kind === "unix") {
    const listener = listenPrivately(address.path);
    const file = socketFile(address.path);
    return { listener, removeFile: () => file.remove() };
  }
  const { host, port } = address;
  try {
    const ip = isIP(host) ? host : (await lookup(host)).address;
    return { listener: listen({ kind: "inet", host: ip, port }, { nonblock: true }), removeFile: () => {} };
  } catch (error) {
    const code = `${what.toUpperCase()}_LISTEN`;
    const { message } = BatonError.from(error, code);
    throw new BatonError(code, `Cannot listen for ${what} at ${host}:${port}: ${message}`, { cause: error });
  }
}
