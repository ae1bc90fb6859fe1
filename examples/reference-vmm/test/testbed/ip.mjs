import { execFileSync } from "node:child_process";

/** Debian's `ip`: busybox's, which comes first in the path, makes no taps. */
export const ip = (...words) => execFileSync("/usr/sbin/ip", words, { stdio: "inherit" });
