import type { GuestMemoryDescriptor } from "@baton/memory";
import type { BusDescription } from "../bus/bus.js";
import type { DeviceEvent } from "../bus/handler.js";
import type { ErrorReport } from "../vcpu-thread/messages.js";

/** Code that a device thread loads beside bus handlers: it watches descriptors. */
export interface ServiceDescription {
  readonly module: string;
  readonly factory: string;
  readonly options: unknown;
}

/** What a device thread is told; answered by `done` or `refused` with the same sequence number. */
export type DeviceCommand =
  | {
      readonly type: "attach";
      readonly sequence: number;
      readonly group: number;
      readonly controls: readonly SharedArrayBuffer[];
      readonly bus: BusDescription;
      readonly memory: GuestMemoryDescriptor;
      readonly vmFd: number;
      /** For each device of the bus: the service of this thread that answers for it, or -1. */
      readonly services: readonly number[];
      /** Whether this thread answers the handlers that are code. */
      readonly loads: boolean;
    }
  | { readonly type: "detach"; readonly sequence: number; readonly group: number }
  | {
      readonly type: "serve";
      readonly sequence: number;
      readonly service: number;
      readonly description: ServiceDescription;
    }
  | { readonly type: "unserve"; readonly sequence: number; readonly service: number }
  | {
      readonly type: "call";
      readonly sequence: number;
      readonly service: number;
      readonly method: string;
      readonly args: unknown;
    }
  | { readonly type: "stop"; readonly sequence: number };

/** What a device thread says. */
export type DeviceReply =
  | { readonly type: "done"; readonly sequence: number; readonly value?: unknown }
  | { readonly type: "refused"; readonly sequence: number; readonly error: ErrorReport }
  | { readonly type: "event"; readonly group: number; readonly event: DeviceEvent }
  | { readonly type: "service-event"; readonly service: number; readonly event: unknown }
  | { readonly type: "failed"; readonly group: number; readonly service: number; readonly error: ErrorReport };
