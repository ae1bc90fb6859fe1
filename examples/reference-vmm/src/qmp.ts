/**
 * The QMP server, apart from the rest: who does not need it does not load it.
 * @module
 */
export type { CommandContext } from "./command/command.js";
export type { SurfaceAddress as QmpAddress } from "./options/options.js";
export { QmpServer } from "./surface/qmp/server.js";
