/**
 * What the code of a device needs in the thread that answers it; small, since every vCPU's thread loads it.
 * @module
 */
export type { AccessSize, BusHandler, HandlerContext, HandlerFactory } from "./bus/handler.js";
export { SharedLock } from "./bus/lock.js";
