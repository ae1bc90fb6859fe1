/**
 * What vCPU threads answer of virtio devices; small, since every one of them loads it.
 * @module
 */
export { virtioInterruptStatus } from "./transport/mmio/interrupt-status.js";
