/**
 * The devices' factories, loaded in device threads.
 * @module
 */
export { createBalloonDevice } from "./balloon/device.js";
export { createBlkDevice } from "./blk/device.js";
export { createConsoleDevice } from "./console/device.js";
export { createNetDevice } from "./net/device.js";
export { createRngDevice } from "./rng/device.js";
export { createVsockDevice } from "./vsock/device.js";
export { createVhostVsockDevice } from "./vsock/vhost-device.js";
