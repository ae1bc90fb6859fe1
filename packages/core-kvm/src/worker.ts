/**
 * The code of a pooled thread: waits for an assignment, works it off in a blocking loop, and says when it is free again.
 * @module
 */
import { parentPort } from "node:worker_threads";
import { gettid } from "@baton/linux";
import { DeviceLoop } from "./device-thread/loop.js";
import { VcpuLoop } from "./vcpu-thread/loop.js";
import { type Assignment, reportError } from "./vcpu-thread/messages.js";

async function work(assignment: Assignment): Promise<void> {
  if (assignment.role === "device") {
    parentPort?.postMessage({ type: "tid", tid: gettid() });
    await new DeviceLoop(assignment).run();
    return;
  }
  const loop = new VcpuLoop(assignment);
  await loop.load();
  parentPort?.postMessage({ type: "ready" });
  loop.run();
}

parentPort?.on("message", (assignment: Assignment) => {
  work(assignment)
    .catch((error: unknown) => parentPort?.postMessage({ type: "failed", error: reportError(error) }))
    .finally(() => parentPort?.postMessage({ type: "released" }));
});
parentPort?.postMessage({ type: "ready" });
