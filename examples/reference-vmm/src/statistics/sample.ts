import type { ExitReason, VcpuThread } from "@baton/core-kvm";
import type {
  BalloonInfo,
  BlkOperationStatistics,
  BlkStatisticsSnapshot,
  NetStatistics,
  VirtioMmioDevice,
} from "@baton/devices-virtio";
import { residentBytes } from "@baton/linux";
import { isRunning } from "../run-state.js";
import type { VirtualMachine } from "../virtual-machine.js";
import { type StatisticSubject, type StatisticTarget, statisticTargets } from "./family.js";

/** What is asked for a sample. */
export type SampledVm = Pick<VirtualMachine, "runState" | "machine" | "config">;

/**
 * Measures a VM: all that the table of statistics has, or what is of some targets. Each device is asked in its own
 * thread; the guest is not disturbed.
 */
export async function sampleStatistics(
  vm: SampledVm,
  targets: readonly StatisticTarget[] = statisticTargets,
): Promise<readonly StatisticSubject[]> {
  const subjects = await Promise.all(targets.map((target) => samplers[target](vm)));
  return subjects.flat();
}

const samplers: Readonly<
  Record<StatisticTarget, (vm: SampledVm) => readonly StatisticSubject[] | Promise<readonly StatisticSubject[]>>
> = {
  vm: async (vm) => [{ target: "vm", id: "", values: await vmValues(vm) }],
  vcpu: ({ machine }) =>
    machine.vcpus.threads.map((thread, index) => ({ target: "vcpu", id: String(index), values: vcpuValues(thread) })),
  disk: (vm) => ofDevices(vm, "disk", "virtio-blk", diskValues),
  network: (vm) => ofDevices(vm, "network", "virtio-net", networkValues),
};

const devicesOf = ({ machine }: SampledVm, model: string) =>
  machine.virtio.devices.filter(({ description }) => description.model === model);

function ofDevices<T>(
  vm: SampledVm,
  target: StatisticTarget,
  model: string,
  values: (of: T) => Readonly<Record<string, number>>,
): Promise<readonly StatisticSubject[]> {
  const one = async (device: VirtioMmioDevice) => {
    return { target, id: device.id, values: values((await device.command("statistics")) as T) };
  };
  return Promise.all(devicesOf(vm, model).map(one));
}

async function vmValues(vm: SampledVm): Promise<Record<string, number>> {
  const [balloon] = devicesOf(vm, "virtio-balloon");
  const info = (await balloon?.command("query")) as BalloonInfo | undefined;
  return {
    running: isRunning(vm.runState) ? 1 : 0,
    "memory-size": vm.config.memory.sizeMiB * 2 ** 20,
    ...(info?.active && { "balloon-actual": info.actual }),
    "resident-size": residentBytes(),
  };
}

function vcpuValues({ time, statistics }: VcpuThread): Record<string, number> {
  const exits = Object.entries(statistics.exitsByReason) as [ExitReason, number][];
  return {
    "guest-time": time.guestNs,
    "vmm-time": time.vmmNs,
    ...Object.fromEntries(exits.map(([reason, count]) => [`${reason}-exits`, count])),
    "forwarded-exits": statistics.forwardedExits,
    "unclaimed-accesses": statistics.unclaimedAccesses,
  };
}

function diskValues(of: BlkStatisticsSnapshot): Record<string, number> {
  const zeroes = of["write-zeroes"];
  const both = (value: (kind: BlkOperationStatistics) => number) => value(of.write) + value(zeroes);
  return {
    "read-operations": of.read.operations,
    "write-operations": both(({ operations }) => operations),
    "flush-operations": of.flush.operations,
    "discard-operations": of.discard.operations,
    "read-bytes": of.read.bytes,
    "write-bytes": both(({ bytes }) => bytes),
    "discard-bytes": of.discard.bytes,
    "failed-read-operations": of.read.failed,
    "failed-write-operations": both(({ failed }) => failed),
    "failed-flush-operations": of.flush.failed,
    "failed-discard-operations": of.discard.failed,
    "read-time": Math.round(of.read.totalTimeNs),
    "write-time": Math.round(both(({ totalTimeNs }) => totalTimeNs)),
    "flush-time": Math.round(of.flush.totalTimeNs),
    "discard-time": Math.round(of.discard.totalTimeNs),
  };
}

function networkValues({ receive, transmit }: NetStatistics): Record<string, number> {
  return {
    "receive-packets": receive.packets,
    "transmit-packets": transmit.packets,
    "receive-bytes": receive.bytes,
    "transmit-bytes": transmit.bytes,
    "receive-dropped": receive.dropped,
    "transmit-dropped": transmit.dropped,
  };
}
