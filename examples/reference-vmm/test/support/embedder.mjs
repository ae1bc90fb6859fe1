/**
 * A program that embeds the library, and what can happen to it: `node embedder.mjs LIBRARY KERNEL WHAT [VCPUS]`.
 * Prints a line when the guest runs, and then ends as WHAT says.
 */
const [library, kernel, what, vcpus = "1"] = process.argv.slice(2);
const { createVm, serial } = await import(library);

const vm = await createVm({
  memory: { sizeMiB: 96 },
  vcpus: Number(vcpus),
  boot: { kernel, cmdline: "rate=10" },
  devices: [what === "stream" ? serial({ output: process.stderr }) : serial({ backend: { kind: "null" } })],
});
await vm.start();
await new Promise((resolve) => setTimeout(resolve, 100));
if (what === "exit-on-signal") process.on("SIGTERM", () => process.exit(9));
process.stdout.write(`${vm.runState}\n`);

switch (what) {
  case "throw":
    throw new Error("the embedder has a bug");
  case "throw-later":
    setTimeout(() => {
      throw new Error("the embedder has a bug");
    }, 10);
    break;
  case "reject":
    Promise.reject(new Error("the embedder has a bug"));
    break;
  case "exit":
    process.exit(7);
    break;
  case "close":
  case "stream":
    await vm.close();
    break;
  case "close-twice":
    await Promise.all([vm.close(), vm.close()]);
    break;
  case "pause":
    await vm.pause();
    process.exit(7);
    break;
  default:
}
