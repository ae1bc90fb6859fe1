// For tests that run something in the testbed.

// For other test tools.
export { type AptOptions, installPackages } from "./apt.js";
export type { Ending } from "./boot.js";
export { cached, cacheRoot, withLock } from "./cache.js";
export { CpioWriter } from "./cpio.js";
export { TestbedError, type TestbedErrorCode } from "./errors.js";
export { ensureKernel, type Kernel, vmlinuxOf } from "./kernel.js";
export { ensureLinuxGuest, type LinuxGuest, type LinuxGuestOptions, linuxGuestCmdline } from "./linux-guest.js";
export { type KernelModule, orderModules } from "./modules.js";
export { workspaceFiles } from "./packages.js";
export { ensureQemu, type Qemu } from "./qemu.js";
export { type RunOptions, type RunResult, runInTestbed, runStatistics } from "./run.js";
export type { TapResult, TapTest } from "./tap.js";
export { parseTap } from "./tap.js";
export type { TestbedFile } from "./tar.js";
export { readTar, writeTar } from "./tar.js";
export { type EnsureTestbedOptions, ensureTestbed, type Testbed, testbedAbsence } from "./testbed.js";
