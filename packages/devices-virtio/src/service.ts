/**
 * The transports' services, loaded in device threads.
 * @module
 */
export { type VirtioServiceOptions, virtioMmioService } from "./transport/mmio/service.js";
