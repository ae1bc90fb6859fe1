import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "@jest/globals";

function kvmOpens(): boolean {
  try {
    closeSync(openSync("/dev/kvm", "r+"));
    return true;
  } catch {
    return false;
  }
}

const works = kvmOpens();
(works ? describe : describe.skip)(`hello-kvm${works ? "" : " (skipped: /dev/kvm cannot be opened)"}`, () => {
  it("lets its guest add two and two, and ends", () => {
    const program = fileURLToPath(new URL("../dist/hello-kvm.js", import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [program], { encoding: "utf8", timeout: 20_000 });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "4\n", stderr: "" });
  });
});
