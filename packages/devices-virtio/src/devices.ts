/**
 * The devices' factories, loaded in device threads.
 * @module
 */
export { createBalloonDevice } from "./balloon/device.js";
export { createBlkDevice } from "./blk/device.js";
export { createRngDevice } from "./rng/device.js";
