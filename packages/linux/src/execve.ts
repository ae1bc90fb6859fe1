import { throwErrno } from "./errno.js";
import { getCloexec, setCloexec } from "./fcntl.js";
import { type FdLike, rawFd } from "./fd.js";
import { addressOf, lastErrno, libc } from "./native.js";
import { aCString, aPath } from "./validate.js";

/** What the new image inherits. */
export interface ExecveOptions {
  /** Descriptors that stay open, under the same numbers, beside 0, 1 and 2. All others should be close-on-exec. */
  readonly keepFds?: readonly FdLike[];
}

/** A NULL-terminated array of pointers to strings, and the bytes they point into. */
function pointerTable(strings: readonly string[], name: string): { table: BigUint64Array; text: Buffer } {
  const texts = strings.map((s, i) => Buffer.from(`${aCString(s, `${name}[${i}]`)}\0`));
  const text = Buffer.concat(texts);
  const base = text.byteLength === 0 ? 0n : addressOf(text);
  const table = new BigUint64Array(strings.length + 1);
  let at = 0;
  for (const [i, one] of texts.entries()) {
    table[i] = base + BigInt(at);
    at += one.byteLength;
  }
  return { table, text };
}

/**
 * Replaces the program of this process: same pid, all other threads gone, mappings gone. Clears close-on-exec on 0, 1, 2
 * and `keepFds` first, as Node has set it on all of them. Terminals keep their mode: restore it before.
 * Returns only by throwing `SYSCALL_FAILED`, with the close-on-exec flags put back. One string may have 128 KiB.
 * execve(2).
 */
export function execve(
  path: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  options: ExecveOptions = {},
): never {
  aPath(path);
  const args = pointerTable(argv, "argv");
  const environment = pointerTable(
    Object.entries(env).map(([key, value]) => `${key}=${value}`),
    "env",
  );
  const kept = [...new Set([0, 1, 2, ...(options.keepFds ?? []).map(rawFd)])];
  const cleared = kept.filter((raw) => {
    if (raw > 2 || isOpen(raw)) return getCloexec(raw);
    return false;
  });
  for (const raw of cleared) setCloexec(raw, false);
  const call = libc<(path: string, argv: BigUint64Array, env: BigUint64Array) => number>(
    "int execve(const char *, void *, void *)",
  );
  call(path, args.table, environment.table);
  const errno = lastErrno();
  for (const raw of cleared) setCloexec(raw, true);
  throwErrno("execve", errno, {
    what: path,
    details: { argvBytes: args.text.length, envBytes: environment.text.length },
  });
}

function isOpen(raw: number): boolean {
  try {
    getCloexec(raw);
    return true;
  } catch {
    return false;
  }
}
