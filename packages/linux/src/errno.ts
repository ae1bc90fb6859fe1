import * as numbers from "./abi/errno.js";
import { BatonError } from "./errors.js";
import { lastErrno, libc } from "./native.js";

const names = new Map<number, string>();

/** The symbolic name of an error number, as `ENOENT` for 2; `errno 4711` for one that is not known. See errno(3). */
export function errnoName(errno: number): string {
  if (names.size === 0) for (const [name, value] of Object.entries(numbers)) names.set(value, name);
  return names.get(errno) ?? `errno ${errno}`;
}

/** The text of an error number in lower case, as `no such file or directory`. See strerror(3). */
export function errnoMessage(errno: number): string {
  const text = libc<(n: number) => string>("const char *strerror(int)")(errno);
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** What {@link throwErrno} may be told about the failed call. */
export interface ThrowErrnoOptions {
  /** What the call was made on: a path, the name of a descriptor. */
  readonly what?: string | undefined;
  /** The code of the error, `SYSCALL_FAILED` unless given. */
  readonly code?: string | undefined;
  readonly hint?: string | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** Throws the {@link BatonError} of a failed system call: `open /dev/kvm: permission denied (EACCES)`. */
export function throwErrno(syscall: string, errno: number, options: ThrowErrnoOptions = {}): never {
  const on = options.what ? ` ${options.what}` : "";
  const errnoText = errnoName(errno);
  throw new BatonError(options.code ?? "SYSCALL_FAILED", `${syscall}${on}: ${errnoMessage(errno)} (${errnoText})`, {
    syscall,
    errno,
    errnoName: errnoText,
    hint: options.hint,
    details: options.details,
  });
}

/** The result of a system call that returns -1 on failure; throws then, with the error number just set. */
export function checked(result: number, syscall: string, what?: string): number {
  if (result < 0) throwErrno(syscall, lastErrno(), { what });
  return result;
}
