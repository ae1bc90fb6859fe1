import { closeSync, openSync } from "node:fs";
import { describe } from "@jest/globals";

/** `describe` for tests that need KVM; skipped, saying so in the name, where `/dev/kvm` cannot be opened. */
export function describeKvm(name: string, tests: () => void): void {
  if (kvmOpens()) describe(name, tests);
  else describe.skip(`${name} (skipped: /dev/kvm cannot be opened)`, tests);
}

function kvmOpens(): boolean {
  try {
    closeSync(openSync("/dev/kvm", "r+"));
    return true;
  } catch {
    return false;
  }
}
