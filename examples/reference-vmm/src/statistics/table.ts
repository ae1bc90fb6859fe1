import { exitReasons } from "@baton/core-kvm";
import type { StatisticFamily } from "./family.js";

const operations = ["read", "write", "flush", "discard"] as const;
const directions = ["receive", "transmit"] as const;

/** `{ "read-bytes": "read", … }`: the names of statistics by a pattern, with the label's value. */
function each(values: readonly string[], name: (value: string) => string): Readonly<Record<string, string>> {
  return Object.fromEntries(values.map((value) => [name(value), value]));
}

/** All that is measured. Every surface that shows statistics is made from this table. */
export const statisticTable: readonly StatisticFamily[] = [
  {
    target: "vm",
    metric: "vm_running",
    doc: "Whether the vCPUs run: 1 or 0.",
    kind: "instant",
    statistics: { running: "" },
  },
  {
    target: "vm",
    metric: "vm_memory_bytes",
    doc: "The guest's memory: all of it, and what the balloon leaves it where there is one.",
    kind: "instant",
    unit: "bytes",
    label: "kind",
    statistics: { "memory-size": "size", "balloon-actual": "balloon" },
  },
  {
    target: "vm",
    metric: "vm_resident_bytes",
    doc: "Memory of the process that runs the VM which is in the host's RAM, the guest's included.",
    kind: "instant",
    unit: "bytes",
    statistics: { "resident-size": "" },
  },
  {
    target: "vcpu",
    metric: "vcpu_time_seconds_total",
    doc: "Processor time of the vCPU's thread: in the guest, and in KVM and the VMM for it.",
    kind: "cumulative",
    unit: "nanoseconds",
    label: "mode",
    statistics: { "guest-time": "guest", "vmm-time": "vmm" },
  },
  {
    target: "vcpu",
    metric: "vcpu_exits_total",
    doc: "How often the vCPU came to the VMM, by reason; what KVM answers itself is not in it.",
    kind: "cumulative",
    label: "reason",
    statistics: each(exitReasons, (reason) => `${reason}-exits`),
  },
  {
    target: "vcpu",
    metric: "vcpu_forwarded_exits_total",
    doc: "Of the exits, those that another thread answered.",
    kind: "cumulative",
    statistics: { "forwarded-exits": "" },
  },
  {
    target: "vcpu",
    metric: "vcpu_unclaimed_accesses_total",
    doc: "Of the exits, accesses that no device claimed.",
    kind: "cumulative",
    statistics: { "unclaimed-accesses": "" },
  },
  {
    target: "disk",
    metric: "disk_operations_total",
    doc: "Requests that were carried out; writes of zeroes count as writes.",
    kind: "cumulative",
    label: "operation",
    statistics: each(operations, (operation) => `${operation}-operations`),
  },
  {
    target: "disk",
    metric: "disk_bytes_total",
    doc: "Bytes of requests that were carried out.",
    kind: "cumulative",
    unit: "bytes",
    label: "operation",
    statistics: each(["read", "write", "discard"], (operation) => `${operation}-bytes`),
  },
  {
    target: "disk",
    metric: "disk_failed_operations_total",
    doc: "Requests that failed.",
    kind: "cumulative",
    label: "operation",
    statistics: each(operations, (operation) => `failed-${operation}-operations`),
  },
  {
    target: "disk",
    metric: "disk_time_seconds_total",
    doc: "Time that requests took, added up.",
    kind: "cumulative",
    unit: "nanoseconds",
    label: "operation",
    statistics: each(operations, (operation) => `${operation}-time`),
  },
  {
    target: "network",
    metric: "network_packets_total",
    doc: "Packets to the guest (receive) and from it (transmit); with vhost-net the kernel moves them, uncounted.",
    kind: "cumulative",
    label: "direction",
    statistics: each(directions, (direction) => `${direction}-packets`),
  },
  {
    target: "network",
    metric: "network_bytes_total",
    doc: "Bytes of those packets, without the virtio header.",
    kind: "cumulative",
    unit: "bytes",
    label: "direction",
    statistics: each(directions, (direction) => `${direction}-bytes`),
  },
  {
    target: "network",
    metric: "network_dropped_packets_total",
    doc: "Packets that did not get through.",
    kind: "cumulative",
    label: "direction",
    statistics: each(directions, (direction) => `${direction}-dropped`),
  },
];
