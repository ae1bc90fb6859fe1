import { readFileSync } from "node:fs";
import { type Fd, makeRaw, O_NOCTTY, O_RDWR, open, openPty, setNonblocking } from "@baton/linux";

/** A new pseudo-terminal's master, which passes every byte as it is; its other side is closed until somebody opens it. */
export function openRawPty(): Fd {
  const { master, slavePath } = openPty();
  try {
    setNonblocking(master, true);
    // Opened once, it tells from now on that nobody has it open: poll(2) says POLLHUP.
    using slave = open(slavePath, O_RDWR | O_NOCTTY);
    makeRaw(slave);
    return master;
  } catch (error) {
    master.close();
    throw error;
  }
}

/** The path of a master's other side, also for a master that came from elsewhere. proc_pid_fdinfo(5). */
export function ptyPath(master: Fd): string {
  const index = /^tty-index:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${master.raw}`, "latin1"))?.[1];
  if (index === undefined) throw new Error(`descriptor ${master.raw} is no pseudo-terminal's master`);
  return `/dev/pts/${index}`;
}
