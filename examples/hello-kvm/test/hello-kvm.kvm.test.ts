import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";

describeKvm("hello-kvm", () => {
  it("lets its guest add two and two, and ends", () => {
    const program = fileURLToPath(new URL("../dist/hello-kvm.js", import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [program], { encoding: "utf8", timeout: 20_000 });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "4\n", stderr: "" });
  });
});
