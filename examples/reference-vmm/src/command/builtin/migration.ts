import { BatonError } from "@baton/linux";
import { parseMigrationAddress } from "@baton/migration";
import { MIGRATION_CAPABILITIES } from "../../migration/capabilities.js";
import type { MigrationReport } from "../../migration/migration.js";
import { type Command, type CommandCall, defineCommand } from "../command.js";
import { capabilitiesText, migrationText, progressText } from "../monitor/migration-text.js";
import { any, arrayOf, bool, int, nothing, object, oneOf, str } from "../schema.js";

const PAGE_BYTES = 4096;

/** The modes of QEMU's `MigMode`; Baton has the first. */
const MODES = ["normal", "cpr-reboot", "cpr-transfer", "cpr-exec"] as const;

const startErrors = {
  CHANNEL_ADDRESS: "the address is none, or of a kind that there is not",
  CHANNEL_OPEN: "the file, descriptor or command cannot be opened",
  MIGRATION_STATE: "a migration is under way, or the guest is not here",
  NOT_BUILT: "what is asked for is not built yet",
} as const;

const capability = object({
  capability: { type: oneOf(...MIGRATION_CAPABILITIES), doc: "its name" },
  state: { type: bool, doc: "whether it is on" },
});

const count = (doc: string) => ({ type: int, doc }) as const;

const ramStatistics = object({
  transferred: count("bytes that went over the channel"),
  remaining: count("bytes of memory that are still to go"),
  total: count("bytes of memory that go in all"),
  duplicate: count("pages that are zero, of which only that is said"),
  normal: count("pages with their content"),
  "normal-bytes": count("their bytes"),
  "dirty-pages-rate": count("always 0: the guest stands"),
  mbps: { type: any, doc: "megabits a second" },
  "dirty-sync-count": count("passes over the memory"),
  "postcopy-requests": count("always 0"),
  "page-size": count("bytes of a page"),
  "multifd-bytes": count("always 0"),
  "pages-per-second": count("pages that went in a second"),
  "precopy-bytes": count("always 0: the guest stands"),
  "downtime-bytes": count("bytes that went while the guest stood"),
  "postcopy-bytes": count("always 0"),
});

/** What moves the guest to another process or machine. */
export const migrationCommands: readonly Command[] = [
  defineCommand({
    name: "migrate",
    doc: "Stops the guest and writes it, with its memory, to a file, a peer or a program. Answers once it has begun: `query-migrate` tells how it fares, and the run state is `postmigrate` at the end. After a failure the guest is what it was before; but it stays `paused` where all of it was sent, and the other side may have it.",
    monitor: {
      parameters: [
        { name: "detach", kind: "word", optional: true },
        { name: "uri", kind: "rest", optional: true },
      ],
      usage: "[-d] uri",
      help: "migrate to URI (using -d to not wait for completion)",
      toArguments({ detach, uri }) {
        if (detach === "-d") return { uri, detach: true };
        return { uri: uri === undefined ? detach : `${String(detach)} ${String(uri)}`, wait: true };
      },
    },
    arguments: {
      uri: { type: str, doc: "`file:PATH,offset=N`, `unix:PATH`, `tcp:HOST:PORT`, `fd:NAME` or `exec:COMMAND`" },
      detach: { type: bool, optional: true, doc: "accepted: QMP never waits" },
      wait: {
        type: bool,
        optional: true,
        doc: "answers at the end, with the error if there was one; Ctrl-C on the monitor cancels it",
      },
    },
    returns: nothing,
    errors: { ...startErrors, MIGRATION_BLOCKED: "a device cannot be moved; the message names it and says why" },
    async handler({ vm }, { uri, wait }, call) {
      const findFd = (name: string) => takeFd(call, name);
      const run = await vm.migration.start(uri, { findFd, ...(wait && { signal: call.signal }) });
      if (!wait) return {};
      if (call.progress) for await (const progress of run) call.progress(progressText(progress));
      await run.finished;
      return {};
    },
  }),
  defineCommand({
    name: "migrate_cancel",
    doc: "Ends the migration that is under way; the guest is what it is after a failure. Does nothing where there is none.",
    monitor: { help: "cancel the current VM migration" },
    arguments: {},
    returns: nothing,
    async handler({ vm }) {
      await vm.migration.cancel();
      return {};
    },
  }),
  defineCommand({
    name: "migrate-incoming",
    doc: "Awaits a guest, in a VM that was started with `-incoming defer`. It runs when it has come, if it ran before.",
    monitor: {
      name: "migrate_incoming",
      parameters: [{ name: "uri", kind: "rest" }],
      usage: "uri",
      help: "continue an incoming migration from an -incoming defer",
    },
    arguments: {
      uri: { type: str, doc: "where it comes from, as for `migrate`" },
      "exit-on-error": {
        type: bool,
        optional: true,
        doc: "whether the program ends where the guest cannot be loaded; it does unless this is false",
      },
    },
    returns: nothing,
    errors: { ...startErrors, SOCKET_IN_USE: "another program listens there" },
    async handler({ vm }, { uri, "exit-on-error": endOnError = true }, call) {
      await vm.migration.receive(uri, { endOnError, findFd: (name) => takeFd(call, name) });
      return {};
    },
  }),
  defineCommand({
    name: "query-migrate",
    doc: "How the migration fares, or fared.",
    monitor: { name: "info migrate", help: "show migration status", render: migrationText },
    arguments: {},
    returns: object({
      status: {
        type: str,
        doc: "QEMU's `MigrationStatus`: `none`, `setup`, `active`, `device`, `completed`, `failed`, `cancelling`, `cancelled`",
      },
      "total-time": { type: int, optional: true, doc: "ms since it began, or that it took" },
      "setup-time": { type: int, optional: true, doc: "ms until the guest was stopped" },
      downtime: { type: int, optional: true, doc: "ms that the guest stood; when it is completed" },
      "expected-downtime": { type: int, optional: true, doc: "ms that the guest is likely to stand; while it goes on" },
      ram: { type: ramStatistics, optional: true, doc: "what became of the memory" },
      "error-desc": { type: str, optional: true, doc: "why it failed" },
      "blocked-reasons": { type: arrayOf(str), optional: true, doc: "what keeps the guest from being moved" },
      "socket-address": { type: arrayOf(any), optional: true, doc: "where a guest is awaited" },
    }),
    handler: ({ vm }) => migrationInfo(vm.migration.report()),
  }),
  defineCommand({
    name: "migrate-set-capabilities",
    doc: "Turns capabilities on and off: all that are named, or none.",
    monitor: {
      name: "migrate_set_capability",
      parameters: [
        { name: "capability", kind: "word" },
        { name: "state", kind: "switch" },
      ],
      usage: "capability state",
      help: "enable/disable the usage of a capability for migration",
      toArguments: ({ capability: name, state }) => ({ capabilities: [{ capability: name, state }] }),
    },
    arguments: { capabilities: { type: arrayOf(capability), doc: "those to change" } },
    returns: nothing,
    errors: { MIGRATION_STATE: startErrors.MIGRATION_STATE, NOT_BUILT: startErrors.NOT_BUILT },
    handler({ vm }, { capabilities }) {
      vm.migration.setCapabilities(capabilities);
      return {};
    },
  }),
  defineCommand({
    name: "query-migrate-capabilities",
    doc: "All capabilities, and which are on.",
    monitor: {
      name: "info migrate_capabilities",
      help: "show current migration capabilities",
      render: capabilitiesText,
    },
    arguments: {},
    returns: arrayOf(capability),
    handler: ({ vm }) => vm.migration.capabilities.list(),
  }),
  defineCommand({
    name: "migrate-set-parameters",
    doc: "Sets how guests are moved.",
    monitor: {
      name: "migrate_set_parameter",
      parameters: [
        { name: "parameter", kind: "word" },
        { name: "value", kind: "word" },
      ],
      usage: "parameter value",
      help: "set the parameter for migration",
      toArguments: ({ parameter, value }) => ({ [String(parameter)]: value }),
    },
    arguments: { mode: { type: oneOf(...MODES), optional: true, doc: "`normal`; the others are not built yet" } },
    returns: nothing,
    errors: { NOT_BUILT: startErrors.NOT_BUILT },
    handler(_context, { mode = "normal" }) {
      if (mode !== "normal") throw new BatonError("NOT_BUILT", `Migration mode '${mode}' is not built yet`);
      return {};
    },
  }),
  defineCommand({
    name: "query-migrate-parameters",
    doc: "How guests are moved.",
    monitor: {
      name: "info migrate_parameters",
      help: "show current migration parameters",
      render: ({ mode }) => `mode: ${mode}\n`,
    },
    arguments: {},
    returns: object({ mode: { type: oneOf(...MODES), doc: "always `normal`" } }),
    handler: () => ({ mode: "normal" }) as const,
  }),
];

/** The descriptor that the client has named, for the migration to own. */
function takeFd({ descriptors }: CommandCall, name: string): number | undefined {
  return descriptors?.take(name).release();
}

/** A report by QEMU's names (QAPI `MigrationInfo`). */
function migrationInfo({ status, direction, progress, error, blockers, address, ...times }: MigrationReport) {
  const reasons = blockers.map(({ device, reason }) => `Device '${device}': ${reason}`);
  const blocked = reasons.length > 0 && { "blocked-reasons": reasons };
  const failed = error !== undefined && status === "failed" && { "error-desc": error.message };
  // As QEMU: who has a guest from elsewhere, and whose move has failed, tells no more.
  if (status === "none" || status === "failed" || status === "cancelled" || direction === "incoming") {
    const socket = address !== undefined && status === "setup" ? socketAddress(address) : undefined;
    return { status, ...failed, ...blocked, ...(socket && { "socket-address": [socket] }) };
  }
  const done = status === "completed";
  return {
    status,
    "total-time": Math.round(times.totalMs),
    "setup-time": Math.round(times.setupMs),
    ...(done && { downtime: Math.round(times.downtimeMs ?? 0) }),
    ...(!done && status !== "setup" && { "expected-downtime": Math.round(times.totalMs - times.setupMs) }),
    ...(progress !== undefined && { ram: ramInfo(progress) }),
    ...blocked,
  };
}

function ramInfo({ bytes, pages, zeroPages, totalPages, durationMs }: NonNullable<MigrationReport["progress"]>) {
  const seconds = Math.max(durationMs, 1) / 1000;
  return {
    transferred: bytes,
    remaining: Math.max(0, totalPages - pages - zeroPages) * PAGE_BYTES,
    total: totalPages * PAGE_BYTES,
    duplicate: zeroPages,
    normal: pages,
    "normal-bytes": pages * PAGE_BYTES,
    "dirty-pages-rate": 0,
    mbps: Math.round((bytes * 8) / seconds / 1e4) / 100,
    "dirty-sync-count": 1,
    "postcopy-requests": 0,
    "page-size": PAGE_BYTES,
    "multifd-bytes": 0,
    "pages-per-second": Math.round((pages + zeroPages) / seconds),
    "precopy-bytes": 0,
    "downtime-bytes": bytes,
    "postcopy-bytes": 0,
  };
}

/** An address as QAPI's `SocketAddress` has it; undefined for what is no socket. */
function socketAddress(text: string): Readonly<Record<string, unknown>> | undefined {
  const address = parseMigrationAddress(text);
  if (address.kind === "unix") return { type: "unix", path: address.path };
  if (address.kind === "tcp") return { type: "inet", host: address.host, port: String(address.port) };
  return undefined;
}
