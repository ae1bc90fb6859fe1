import { describe, expect, test } from "@jest/globals";
import { renderMetrics } from "./text.js";

describe("metrics as text", () => {
  test("have names with units, help, types and labels", () => {
    const text = renderMetrics(
      [
        { target: "vcpu", id: "0", values: { "guest-time": 1_500_000_000, "vmm-time": 1, "hlt-exits": 2 } },
        { target: "vcpu", id: "1", values: { "hlt-exits": 3 } },
        { target: "disk", id: "root", values: { "read-bytes": 4096 } },
        { target: "vm", id: "", values: { running: 1 } },
      ],
      "web",
    );
    expect(text).toBe(`\
# HELP baton_vm_running Whether the vCPUs run: 1 or 0.
# TYPE baton_vm_running gauge
baton_vm_running{vm="web"} 1
# HELP baton_vcpu_time_seconds_total Processor time of the vCPU's thread: in the guest, and in KVM and the VMM for it.
# TYPE baton_vcpu_time_seconds_total counter
baton_vcpu_time_seconds_total{vm="web",vcpu="0",mode="guest"} 1.5
baton_vcpu_time_seconds_total{vm="web",vcpu="0",mode="vmm"} 1e-9
# HELP baton_vcpu_exits_total How often the vCPU came to the VMM, by reason; what KVM answers itself is not in it.
# TYPE baton_vcpu_exits_total counter
baton_vcpu_exits_total{vm="web",vcpu="0",reason="hlt"} 2
baton_vcpu_exits_total{vm="web",vcpu="1",reason="hlt"} 3
# HELP baton_disk_bytes_total Bytes of requests that were carried out.
# TYPE baton_disk_bytes_total counter
baton_disk_bytes_total{vm="web",device="root",operation="read"} 4096
`);
  });

  test("escape what labels may not hold, and name no VM that has no name", () => {
    const subject = { target: "vm" as const, id: "", values: { running: 0 } };
    expect(renderMetrics([subject], 'a"b\\c\nd')).toContain('baton_vm_running{vm="a\\"b\\\\c\\nd"} 0\n');
    expect(renderMetrics([subject])).toContain("\nbaton_vm_running 0\n");
    expect(renderMetrics([])).toBe("");
  });
});
