import { BatonError, connect, EADDRINUSE, ECONNREFUSED, type Fd, listen, unlink } from "@baton/linux";

/**
 * A listening UNIX socket at `path`, non-blocking. A socket that a dead process left behind is replaced.
 * Errors: `SOCKET_IN_USE` where somebody answers there, `SOCKET_PATH` for a path that cannot be had.
 */
export function listenUnix(path: string): Fd {
  const address = { kind: "unix" as const, path };
  try {
    return listen(address, { nonblock: true });
  } catch (error) {
    if (!BatonError.is(error)) throw error;
    if (error.errno !== EADDRINUSE) {
      throw new BatonError("SOCKET_PATH", `Cannot listen at ${path}: ${error.message}`, { cause: error });
    }
    if (isAlive(path)) {
      throw new BatonError("SOCKET_IN_USE", `Cannot listen at ${path}: another process does already`, {
        cause: error,
        hint: "Choose another path, or end the process that owns it",
      });
    }
    unlink(path);
    return listen(address, { nonblock: true });
  }
}

function isAlive(path: string): boolean {
  try {
    connect({ kind: "unix", path }, { nonblock: true }).close();
    return true;
  } catch (error) {
    return !BatonError.is(error) || error.errno !== ECONNREFUSED;
  }
}
