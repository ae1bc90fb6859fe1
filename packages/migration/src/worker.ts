/**
 * The code of a channel's thread: does one task after the other with blocking system calls.
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { setThreadName } from "@baton/linux";
import { Cancelled, DescriptorIo } from "./channel/descriptor-io.js";
import { type ChannelReply, type ChannelTask, type ChannelThreadData, reportError } from "./channel/messages.js";
import { performTask } from "./channel/tasks.js";

const thread = workerData as ChannelThreadData;
setThreadName("baton-channel");

parentPort?.on("message", ({ id, target, request }: ChannelTask) => {
  let reply: ChannelReply;
  const transfer: ArrayBuffer[] = [];
  try {
    reply = { id, result: performTask(new DescriptorIo(target, thread), request, transfer) };
  } catch (error) {
    reply = error instanceof Cancelled ? { id, cancelled: true } : { id, error: reportError(error) };
  }
  parentPort?.postMessage(reply, transfer);
});
