import type { VirtioEvent } from "@baton/devices-virtio";

/** What virtio devices report, as events of their VM; `device` is the device's id. */
export type VirtioVmEvent =
  /** The host could not carry out a request; `action` is what that led to. */
  | {
      readonly type: "block-io-error";
      readonly device: string;
      readonly operation: "read" | "write";
      readonly action: "report" | "ignore" | "stop";
      readonly nospace: boolean;
      /** The host's error by name, such as `EIO`. */
      readonly reason: string;
    }
  /** The guest has given or taken memory: what it has now, in bytes. */
  | { readonly type: "balloon-changed"; readonly device: string; readonly actual: number }
  /** A program in the guest has opened or closed a port; `port` is the port's id. */
  | { readonly type: "port-changed"; readonly device: string; readonly port: string; readonly open: boolean }
  /** The driver broke the rules: the device waits to be reset. */
  | { readonly type: "device-needs-reset"; readonly device: string; readonly reason: string }
  /** What only the kind of device knows. */
  | { readonly type: "device"; readonly device: string; readonly name: string; readonly data?: unknown };

type Data<T extends VirtioVmEvent["type"]> = Omit<Extract<VirtioVmEvent, { type: T }>, "type" | "device">;

/** The VM's event for what a device reported. */
export function virtioVmEvent(device: string, { name, data }: VirtioEvent): VirtioVmEvent {
  switch (name) {
    case "io-error":
      return { type: "block-io-error", device, ...(data as Data<"block-io-error">) };
    case "balloon-changed":
      return { type: "balloon-changed", device, ...(data as Data<"balloon-changed">) };
    case "port-changed":
      return { type: "port-changed", device, ...(data as Data<"port-changed">) };
    case "needs-reset":
      return { type: "device-needs-reset", device, reason: (data as { readonly message: string }).message };
    default:
      return { type: "device", device, name, data };
  }
}
