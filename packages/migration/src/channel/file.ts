import { lstatSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import {
  BatonError,
  fsync,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  open,
  rename,
  throwIfAborted,
  unlink,
} from "@baton/linux";
import type { MigrationAddress } from "./address.js";
import { formatMigrationAddress } from "./address.js";
import type { ChannelOptions } from "./channel.js";
import { DescriptorChannel } from "./descriptor-channel.js";

const PRIVATE = 0o600;

let files = 0;

function openFailed(address: string, cause: unknown): BatonError {
  const { message, errno, errnoName, syscall } = BatonError.from(cause, "CHANNEL_OPEN");
  return new BatonError("CHANNEL_OPEN", `${address}: ${message}`, { cause, errno, errnoName, syscall });
}

/**
 * Opens a file to read a stream from. Throws `CHANNEL_OPEN`.
 */
export function readFileChannel(address: MigrationAddress & { kind: "file" }): DescriptorChannel {
  const name = formatMigrationAddress(address);
  try {
    const fd = open(address.path, O_RDONLY | O_NONBLOCK);
    return owning(fd, () => new DescriptorChannel(fd, name, {}, address.offset ?? 0));
  } catch (error) {
    throw openFailed(name, error);
  }
}

/**
 * Opens a file to write a stream to, readable by its owner alone. Without an offset the file gets its name at the proper
 * end, when it is durable: until then, and after a failure, what had the name keeps it. With one, and where the
 * name is no regular file's, the stream is written in place; a file that was made for it is removed after a failure. Throws `CHANNEL_OPEN`.
 */
export function writeFileChannel(address: MigrationAddress & { kind: "file" }): DescriptorChannel {
  const name = formatMigrationAddress(address);
  try {
    const now = lstatSync(address.path, { throwIfNoEntry: false });
    const regular = now === undefined || now.isFile() || now.isSymbolicLink();
    if (address.offset === undefined && regular) {
      return replacing(now?.isSymbolicLink() ? realpathSync(address.path) : address.path, name);
    }
    return inPlace(address.path, name, address.offset ?? 0, now === undefined);
  } catch (error) {
    throw openFailed(name, error);
  }
}

function inPlace(path: string, name: string, offset: number, isNew: boolean): DescriptorChannel {
  const fd = open(path, O_WRONLY | O_CREAT | O_NONBLOCK, PRIVATE);
  return owning(fd, () => {
    const channel: DescriptorChannel = new DescriptorChannel(
      fd,
      name,
      {
        async end(run) {
          if (channel.seekable) await run({ op: "sync" });
        },
        close(ended) {
          if (!ended && isNew) removeIfThere(path);
        },
      },
      offset,
    );
    return channel;
  });
}

function replacing(path: string, name: string): DescriptorChannel {
  const partial = `${path}.${process.pid}-${++files}.partial`;
  const fd = open(partial, O_WRONLY | O_CREAT | O_EXCL, PRIVATE);
  try {
    return owning(
      fd,
      () =>
        new DescriptorChannel(fd, name, {
          async end(run, { signal }: ChannelOptions) {
            await run({ op: "sync" });
            throwIfAborted(signal);
            rename(partial, path);
            const directory = open(dirname(path), O_RDONLY | O_DIRECTORY);
            try {
              fsync(directory);
            } finally {
              directory.close();
            }
          },
          close(ended) {
            if (!ended) removeIfThere(partial);
          },
        }),
    );
  } catch (error) {
    removeIfThere(partial);
    throw error;
  }
}

function removeIfThere(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })) unlink(path);
}

/** What `make` makes of a descriptor; the descriptor is closed where that fails. */
export function owning<T>(fd: { close(): void }, make: () => T): T {
  try {
    return make();
  } catch (error) {
    fd.close();
    throw error;
  }
}
