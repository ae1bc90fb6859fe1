import {
  BatonError,
  connect,
  type Fd,
  listenPrivately,
  O_APPEND,
  O_CREAT,
  O_TRUNC,
  O_WRONLY,
  open,
  socketFile,
} from "@baton/linux";
import type { OpenOrFind } from "../device/description.js";
import type { ChardevBackend, CharEndpoint } from "./backend.js";
import { openRawPty, ptyPath } from "./pty.js";

/** A character device's back end with its descriptors. */
export interface OpenedChardev {
  /** For the {@link CharChannel}. */
  readonly endpoint: CharEndpoint;
  /** What it stands on, in QEMU's words: `unix:/run/x,server=on`, `pty:/dev/pts/3`. */
  readonly filename: string;
  /** A pseudo-terminal's path. */
  readonly path?: string;
  /** Closes what was opened, and removes a listening socket's file, unless it was handed over to another machine. */
  close(handedOver?: boolean): void;
}

/**
 * Opens what a back end needs, all of it by `openOrFind("chardev", id, ...)`. Errors name the path: `CHARDEV_OPEN`,
 * `SOCKET_IN_USE`, `SOCKET_PATH`.
 */
export function openChardev(
  id: string,
  backend: ChardevBackend,
  openOrFind: OpenOrFind = (_name, _id, open) => open(),
): OpenedChardev {
  const find = (what: string, open: () => Fd) => openOrFind("chardev", id, () => opening(what, open));
  switch (backend.kind) {
    case "null":
      return { endpoint: { kind: "null" }, filename: "null", close: () => {} };
    case "fd": {
      const { outputFd, inputFd = -1 } = backend;
      return { endpoint: { kind: "fds", outputFd, inputFd }, filename: "fd", close: () => {} };
    }
    case "file": {
      const flags = O_WRONLY | O_CREAT | (backend.append ? O_APPEND : O_TRUNC);
      const fd = find(`file ${backend.path}`, () => open(backend.path, flags, 0o600));
      return {
        endpoint: { kind: "fds", outputFd: fd.raw, inputFd: -1 },
        filename: `file:${backend.path}`,
        close: () => fd.close(),
      };
    }
    case "unix": {
      const { path } = backend;
      const fd = find(`socket ${path}`, () => listenPrivately(path));
      const file = socketFile(path);
      return {
        endpoint: { kind: "listener", fd: fd.raw },
        filename: `unix:${path},server=on`,
        close(handedOver = false) {
          fd.close();
          if (!handedOver) file.remove();
        },
      };
    }
    case "unix-client": {
      const { path } = backend;
      const fd = find(`socket ${path}`, () => connect({ kind: "unix", path }, { nonblock: true }));
      return { endpoint: { kind: "connection", fd: fd.raw }, filename: `unix:${path}`, close: () => fd.close() };
    }
    case "pty": {
      const master = find("a pseudo-terminal", openRawPty);
      const path = ptyPath(master);
      return { endpoint: { kind: "pty", fd: master.raw }, filename: `pty:${path}`, path, close: () => master.close() };
    }
    default:
      return backend satisfies never;
  }
}

function opening<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (BatonError.is(error) && error.code !== "SYSCALL_FAILED") throw error;
    throw new BatonError("CHARDEV_OPEN", `Cannot open ${what}: ${BatonError.from(error, "CHARDEV_OPEN").message}`, {
      cause: error,
    });
  }
}
