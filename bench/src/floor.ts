/**
 * The least that a process with one vCPU's thread must do before a guest can run: Node, koffi, a started worker that has
 * loaded koffi as well.
 * @module
 */
import { threadPool } from "@baton/core-kvm";
import { getpid } from "@baton/linux";

getpid();
await threadPool.prestart(1);
process.stdout.write(".", () => process.exit());
