import { fileURLToPath, pathToFileURL } from "node:url";
import { guestPath } from "@baton/guests";
import { afterEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { END_TIMEOUT_MS, killPrograms, libraryPath, Program } from "./support/baton.js";

const script = fileURLToPath(new URL("./support/embedder.mjs", import.meta.url));
const library = pathToFileURL(libraryPath).href;

afterEach(killPrograms);

/** Starts the program and waits until its guest runs. */
async function embedder(what: string, vcpus = 1): Promise<Program> {
  const program = new Program(process.execPath, [script, library, guestPath("ticker"), what, `${vcpus}`]);
  await program.sees(/^running\n/);
  return program;
}

describeKvm("a process with a running VM", () => {
  it.each([1, 4])("ends when its code throws (%i vCPUs)", async (vcpus) => {
    const program = await embedder("throw", vcpus);
    expect(await program.ended(END_TIMEOUT_MS)).toBe(1);
    expect(program.stderr).toContain("the embedder has a bug");
  });

  it.each(["throw-later", "reject"])("ends when its code throws beside the main path (%s)", async (what) => {
    const program = await embedder(what);
    expect(await program.ended(END_TIMEOUT_MS)).toBe(1);
    expect(program.stderr).toContain("the embedder has a bug");
  });

  it.each(["exit", "pause"])("ends when it calls process.exit (%s)", async (what) => {
    expect(await (await embedder(what)).ended(END_TIMEOUT_MS)).toBe(7);
  });

  it("runs on when main returns, and ends when a signal's handler calls process.exit", async () => {
    const program = await embedder("exit-on-signal");
    expect(program.end).toBeUndefined();
    expect(await program.endedBy("SIGTERM")).toBe(9);
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const)("ends by %s that it does not handle", async (signal) => {
    const program = await embedder("nothing");
    expect(await program.endedBy(signal)).toBe(signal);
  });

  it.each(["close", "close-twice", "stream"])("ends by itself once the VM is closed (%s)", async (what) => {
    const program = await embedder(what);
    expect(await program.ended(END_TIMEOUT_MS)).toBe(0);
  });
});
