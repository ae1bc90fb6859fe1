/**
 * The code of the platform's devices, as vCPU threads load it.
 * @module
 */
export { acpiGed } from "./acpi-ged.js";
export { debugExit } from "./debug-exit.js";
export { i8042 } from "./i8042.js";
export { pvpanic } from "./pvpanic.js";
export { rtc } from "./rtc.js";
export { uart16550 } from "./uart-16550.js";
