import { F_GETFD, F_GETFL, F_SETFD, F_SETFL, FD_CLOEXEC, O_NONBLOCK } from "./abi/file.js";
import { checked } from "./errno.js";
import { type FdLike, fdName, rawFd } from "./fd.js";
import { libc } from "./native.js";
import { aU32 } from "./validate.js";

type Fcntl = (fd: number, cmd: number, arg: number) => number;

function fcntl(fd: FdLike, command: number, arg: number, name: string): number {
  return checked(libc<Fcntl>("int fcntl(int, int, int64_t)")(rawFd(fd), command, arg), `fcntl ${name}`, fdName(fd));
}

/** The status flags (`O_*`) of an open file. fcntl(2) F_GETFL. */
export function getFlags(fd: FdLike): number {
  return fcntl(fd, F_GETFL, 0, "F_GETFL");
}

/** Sets the status flags (`O_*`) of an open file, which all its duplicates share. fcntl(2) F_SETFL. */
export function setFlags(fd: FdLike, flags: number): void {
  fcntl(fd, F_SETFL, aU32(flags, "flags"), "F_SETFL");
}

/** Sets or clears `O_NONBLOCK` of an open file, which all its duplicates share (other processes' too). fcntl(2). */
export function setNonblocking(fd: FdLike, nonblock: boolean): void {
  const flags = getFlags(fd);
  setFlags(fd, nonblock ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/** Whether this descriptor is closed by execve. fcntl(2) F_GETFD. */
export function getCloexec(fd: FdLike): boolean {
  return (fcntl(fd, F_GETFD, 0, "F_GETFD") & FD_CLOEXEC) !== 0;
}

/** Sets whether this descriptor is closed by execve; Node sets it on every descriptor it inherits. fcntl(2) F_SETFD. */
export function setCloexec(fd: FdLike, cloexec: boolean): void {
  fcntl(fd, F_SETFD, cloexec ? FD_CLOEXEC : 0, "F_SETFD");
}
