import type { VirtioMmioDevice } from "@baton/devices-virtio";
import { MMIO_LENGTH } from "@baton/devices-virtio";
import { microvmLayout } from "../../machine/microvm.js";
import { gedLayout } from "../../platform/acpi-ged.js";
import type { VirtualMachine } from "../../virtual-machine.js";

/** A device or a bus, with what hangs on it. */
interface TreeNode {
  readonly title: string;
  readonly properties: readonly string[];
  readonly children?: readonly TreeNode[];
}

const hex = (value: bigint, digits: number) => value.toString(16).padStart(digits, "0");
const mmio = (base: bigint, length: number) => `mmio ${hex(base, 16)}/${hex(BigInt(length), 16)}`;
const port = (base: bigint) => `iobase = ${base} (0x${base.toString(16)})`;
const irq = (gsi: number) => `irq = ${gsi} (0x${gsi.toString(16)})`;
const text = (name: string, value: string) => `${name} = ${JSON.stringify(value)}`;
const flag = (name: string, value: boolean) => `${name} = ${value}`;

/** A driver's name as `-device` knows it. */
export function driverName({ description: { model } }: Pick<VirtioMmioDevice, "description">): string {
  return model === "virtio-console" ? "virtio-serial-device" : `${model}-device`;
}

/** The devices of a machine and the buses that they are on, in the form of `info qtree`. */
export function deviceTree(vm: Pick<VirtualMachine, "machine" | "serialChardev">): string {
  const { machine, serialChardev } = vm;
  const isa = [
    ...(serialChardev === undefined ? [] : [isaSerial(serialChardev.label)]),
    isaDevice("mc146818rtc", microvmLayout.rtc),
    isaDevice("i8042", microvmLayout.i8042),
    isaDevice("pvpanic", microvmLayout.pvpanic),
    isaDevice("isa-debug-exit", microvmLayout.debugExit),
  ];
  const custom = (machine.config.devices ?? []).flatMap((device) => (device.kind === "custom" ? [device.device] : []));
  const system = [
    device("acpi-ged-x86", "", [
      `ged-event = 2 (0x2)`,
      irq(gedLayout.gsi),
      mmio(gedLayout.events, 4),
      mmio(gedLayout.registers, 4),
    ]),
    ...machine.virtio.devices.map(virtioMmio),
    ...custom.map(({ name, ranges }) =>
      device(
        "custom",
        name,
        ranges.map(({ space, base, length }) => (space === "mmio" ? mmio(base, length) : port(base))),
      ),
    ),
    { ...device("isabus-bridge", "", []), children: [bus("isa.0", "ISA", isa)] },
  ];
  return render(bus("main-system-bus", "System", system), 0);
}

function virtioMmio(virtio: VirtioMmioDevice, index: number): TreeNode {
  const { id, base, gsi, description } = virtio;
  const { queues, iothread, rings = {} } = description;
  const properties = [
    `num-queues = ${queues} (0x${queues.toString(16)})`,
    ...(iothread === undefined ? [] : [text("iothread", iothread)]),
    flag("indirect_desc", rings.indirect ?? true),
    flag("event_idx", rings.eventIndex ?? true),
    flag("packed", rings.packed ?? false),
    flag("in_order", rings.inOrder ?? false),
  ];
  const transport = device("virtio-mmio", "", [irq(gsi), mmio(base, MMIO_LENGTH)]);
  const child = device(driverName(virtio), id, properties);
  return { ...transport, children: [bus(`virtio-mmio-bus.${index}`, "virtio-mmio-bus", [child])] };
}

function isaSerial(chardev: string): TreeNode {
  const { port: base, gsi } = microvmLayout.com1;
  return device("isa-serial", "", ["index = 0 (0x0)", text("chardev", chardev), port(base), irq(gsi)]);
}

function isaDevice(driver: string, base: bigint): TreeNode {
  return device(driver, "", [port(base)]);
}

function device(driver: string, id: string, properties: readonly string[]): TreeNode {
  return { title: `dev: ${driver}, id ${JSON.stringify(id)}`, properties };
}

function bus(name: string, type: string, children: readonly TreeNode[]): TreeNode {
  return { title: `bus: ${name}`, properties: [`type ${type}`], children };
}

function render({ title, properties, children = [] }: TreeNode, depth: number): string {
  const indent = " ".repeat(depth);
  const lines = [`${indent}${title}\n`, ...properties.map((property) => `${indent}  ${property}\n`)];
  return [...lines, ...children.map((child) => render(child, depth + 2))].join("");
}
