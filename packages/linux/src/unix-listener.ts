import { lstatSync } from "node:fs";
import { EADDRINUSE } from "./abi/errno.js";
import { BatonError } from "./errors.js";
import type { Fd } from "./fd.js";
import { unlink } from "./files.js";
import { umask } from "./process.js";
import { isUnixSocketAlive, listen } from "./sockets.js";

/**
 * A listening UNIX socket, non-blocking, whose file only its owner may connect to. A socket that a dead process left
 * behind is replaced; what is no socket is left alone. Errors: `SOCKET_IN_USE` where somebody has one there, who is not disturbed, `SOCKET_PATH`
 * for a path that cannot be had.
 */
export function listenPrivately(path: string): Fd {
  const mask = umask(0o177);
  try {
    return listenInPlace(path);
  } finally {
    umask(mask);
  }
}

/** The file of a listening socket, as it is now: it is removed unless another one stands there by then. */
export function socketFile(path: string): { remove(): void } {
  const own = lstatSync(path, { throwIfNoEntry: false });
  return {
    remove() {
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now !== undefined && now.ino === own?.ino && now.dev === own.dev) unlink(path);
    },
  };
}

function listenInPlace(path: string): Fd {
  const address = { kind: "unix" as const, path };
  try {
    return listen(address, { nonblock: true });
  } catch (error) {
    if (!BatonError.is(error)) throw error;
    if (error.errno !== EADDRINUSE) {
      throw new BatonError("SOCKET_PATH", `Cannot listen at ${path}: ${error.message}`, { cause: error });
    }
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) {
      throw new BatonError("SOCKET_PATH", `Cannot listen at ${path}: there is a file that is no socket`, {
        cause: error,
        hint: "Choose another path, or remove it",
      });
    }
    if (isUnixSocketAlive(path)) {
      throw new BatonError("SOCKET_IN_USE", `Cannot listen at ${path}: another process does already`, {
        cause: error,
        hint: "Choose another path, or end the process that owns it",
      });
    }
    unlink(path);
    return listen(address, { nonblock: true });
  }
}
