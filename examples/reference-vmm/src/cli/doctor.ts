import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { Kvm } from "@baton/core-kvm";
import { BatonError, Userfaultfd } from "@baton/linux";
import { exitCode } from "./exit-code.js";

/** The result of one check: `ok`, `missing` (a feature less), or `failed` (no VM can run). */
interface Finding {
  readonly name: string;
  readonly status: "ok" | "missing" | "failed";
  readonly detail: string;
  readonly fix?: string;
}

/** Checks what Baton uses on this machine and names the fix for what is missing. Exit code 1 when no VM can run. */
export function runDoctor(args: readonly string[]): number {
  const findings = [kvm(), memory(), hugePages(), tap(), userfaultfd(), vhost("net"), vhost("vsock"), vfio()];
  if (args.includes("--json")) process.stdout.write(`${JSON.stringify(findings, null, 2)}\n`);
  else for (const finding of findings) print(finding);
  return findings.some((finding) => finding.status === "failed") ? exitCode.error : exitCode.ok;
}

function print({ name, status, detail, fix }: Finding): void {
  const mark = { ok: "ok     ", missing: "missing", failed: "FAILED " }[status];
  process.stdout.write(`${mark}  ${name.padEnd(14)} ${detail}\n`);
  if (fix !== undefined) process.stdout.write(`${" ".repeat(24)} fix: ${fix}\n`);
}

function kvm(): Finding {
  const name = "KVM";
  try {
    using device = Kvm.open();
    const max = device.capability("MAX_VCPUS");
    const nested = device.capability("NESTED_STATE") > 0 ? "" : ", no nested state";
    return { name, status: "ok", detail: `/dev/kvm opens, up to ${max} vCPUs${nested}` };
  } catch (error) {
    const { message, hint } = BatonError.from(error, "KVM_NOT_AVAILABLE");
    return { name, status: "failed", detail: message, ...(hint !== undefined && { fix: hint }) };
  }
}

function memory(): Finding {
  const kib = Number(/MemAvailable:\s+(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))?.[1] ?? 0);
  return { name: "memory", status: "ok", detail: `${Math.round(kib / 1024)} MiB available` };
}

function hugePages(): Finding {
  const name = "huge pages";
  const sizes = existsSync("/sys/kernel/mm/hugepages") ? readdirSync("/sys/kernel/mm/hugepages") : [];
  const free = sizes.map(
    (size) => `${size.replace("hugepages-", "")}: ${read(`/sys/kernel/mm/hugepages/${size}/free_hugepages`)} free`,
  );
  const some = free.some((line) => !line.includes(": 0 free"));
  const detail = free.join(", ") || "the kernel has none";
  return some
    ? { name, status: "ok", detail }
    : { name, status: "missing", detail, fix: "echo 512 > /proc/sys/vm/nr_hugepages (2 MiB each)" };
}

function tap(): Finding {
  return device(
    "tap",
    "/dev/net/tun",
    "modprobe tun, and run as root or give the user the tap device (ip tuntap add ... user)",
  );
}

function vhost(kind: "net" | "vsock"): Finding {
  return device(`vhost-${kind}`, `/dev/vhost-${kind}`, `modprobe vhost_${kind}`);
}

function vfio(): Finding {
  return device("VFIO", "/dev/vfio/vfio", "turn the IOMMU on (intel_iommu=on or amd_iommu=on), then modprobe vfio-pci");
}

function userfaultfd(): Finding {
  const name = "userfaultfd";
  try {
    Userfaultfd.open().close();
    return { name, status: "ok", detail: "opens" };
  } catch (error) {
    const fix = "run as root, or: sysctl vm.unprivileged_userfaultfd=1";
    return { name, status: "missing", detail: BatonError.from(error, "USERFAULTFD").message, fix };
  }
}

function device(name: string, path: string, fix: string): Finding {
  if (!existsSync(path)) return { name, status: "missing", detail: `${path} does not exist`, fix };
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return { name, status: "ok", detail: `${path} can be opened` };
  } catch {
    return { name, status: "missing", detail: `${path}: permission denied`, fix };
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "?";
  }
}
