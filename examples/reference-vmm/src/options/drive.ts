import type { DetectZeroes, ErrorPolicy, VirtioBlkOptions } from "@baton/devices-virtio";
import { checkKeys, optionError, parseBool, parseInteger, parseSubOptions } from "./grammar.js";

/** A `-drive`: what a disk is made of, but for the device in front of it. */
export type DriveOption = Pick<
  VirtioBlkOptions,
  | "id"
  | "path"
  | "overlay"
  | "readOnly"
  | "direct"
  | "aio"
  | "discard"
  | "detectZeroes"
  | "serial"
  | "limits"
  | "readError"
  | "writeError"
>;

const KEYS: readonly string[] = [
  "id",
  "file",
  "overlay",
  "if",
  "unit",
  "readonly",
  "direct",
  "cache.direct",
  "throttling.iops-total",
  "throttling.bps-total",
  "aio",
  "media",
  "discard",
  "detect-zeroes",
  "format",
  "cache",
  "serial",
  "rerror",
  "werror",
];

const MAX_IOPS = 1_000_000;

/** What QEMU's cache modes say about direct I/O; the write cache itself is the guest's to choose. */
const directOfCache: Readonly<Record<string, boolean>> = {
  writeback: false,
  writethrough: false,
  none: true,
  directsync: true,
};

/** Who carries requests out: `native` leaves the choice, as nothing here is Linux's older asynchronous I/O. */
const aios = { off: "threads", threads: "threads", native: undefined, io_uring: "io_uring" } as const;

const zeroes: Readonly<Record<string, DetectZeroes>> = { off: "off", on: "on", unmap: "unmap" };

const policies: Readonly<Record<string, ErrorPolicy>> = {
  report: "report",
  ignore: "ignore",
  enospc: "enospc",
  stop: "stop",
};

/** `-drive id=,file=,...`: a raw image or block device. */
export function parseDrive(option: string, text: string): DriveOption {
  const parsed = parseSubOptions(option, text, false);
  checkKeys(option, parsed, KEYS);
  const { pairs } = parsed;
  const one = <T>(key: string, choices: Readonly<Record<string, T>>): T | undefined => {
    const value = pairs.get(key);
    if (value === undefined) return undefined;
    if (!Object.hasOwn(choices, value)) {
      throw optionError(option, `${key}=${value} is none of ${Object.keys(choices).join(", ")}`);
    }
    return choices[value];
  };
  const bool = (key: string) => (pairs.has(key) ? parseBool(option, key, pairs.get(key) as string) : undefined);
  const id = pairs.get("id");
  const path = pairs.get("file");
  if (id === undefined || id === "") throw optionError(option, "needs id=");
  if (path === undefined || path === "") throw optionError(option, `drive '${id}' needs file=`);
  one("if", { none: true });
  one("format", { raw: true });
  const media = one("media", { disk: "disk", cdrom: "cdrom" });
  const discard = one("discard", { unmap: true, on: true, ignore: false, off: false });
  const detectZeroes = one("detect-zeroes", zeroes);
  const aio = one("aio", aios);
  const direct = bool("direct") ?? bool("cache.direct") ?? one("cache", directOfCache);
  if (pairs.get("aio") === "native" && direct === false) throw optionError(option, "aio=native needs direct=on");
  if (pairs.get("aio") === "off" && direct === true) {
    throw optionError(option, "direct=on cannot be used with aio=off");
  }
  const overlay = pairs.get("overlay");
  if (overlay !== undefined && direct) throw optionError(option, "overlay= cannot be used with direct=on");
  if (overlay !== undefined && aio === "io_uring") {
    throw optionError(option, "overlay= cannot be used with aio=io_uring");
  }
  const readOnly = bool("readonly") ?? media === "cdrom";
  const limit = (key: string, max: number) =>
    pairs.has(key) ? parseInteger(option, key, pairs.get(key) as string, 0, max) : undefined;
  const iops = limit("throttling.iops-total", MAX_IOPS);
  const bytesPerSecond = limit("throttling.bps-total", Number.MAX_SAFE_INTEGER);
  const serial = pairs.get("serial");
  const readError = one("rerror", policies);
  const writeError = one("werror", policies);
  if (readError === "enospc") throw optionError(option, "rerror=enospc: a read does not fill a disk");
  return {
    id,
    path,
    ...(overlay !== undefined && { overlay }),
    readOnly,
    ...(direct !== undefined && { direct }),
    ...(aio !== undefined && { aio }),
    ...(discard !== undefined && { discard }),
    ...(detectZeroes !== undefined && { detectZeroes }),
    ...(serial !== undefined && { serial }),
    ...(readError !== undefined && { readError }),
    ...(writeError !== undefined && { writeError }),
    limits: { ...(iops !== undefined && { iops }), ...(bytesPerSecond !== undefined && { bytesPerSecond }) },
  };
}
