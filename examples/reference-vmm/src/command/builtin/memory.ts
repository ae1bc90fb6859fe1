import { closeSync, openSync, writeFileSync } from "node:fs";
import { getRegisters } from "@baton/core-kvm";
import { BatonError } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import { type Command, type CommandCall, type CommandContext, defineCommand } from "../command.js";
import { MAX_DUMP_BYTES, parseDumpFormat } from "../monitor/dump-format.js";
import { evaluate, type RegisterReader } from "../monitor/expression.js";
import type { MonitorForm, MonitorState } from "../monitor/form.js";
import { lineError } from "../monitor/line-scanner.js";
import { dumpMemory } from "../monitor/memory-dump.js";
import { int, nothing, str } from "../schema.js";

const PAGE = 4096n;
const short: Readonly<Record<string, string>> = {
  pc: "rip",
  eip: "rip",
  sp: "rsp",
  esp: "rsp",
  fp: "rbp",
  eflags: "rflags",
};

interface DumpArguments {
  readonly format?: string;
  readonly address: string;
}

/** Shows memory, with the guest held for as long as it takes to read it. */
async function show(
  { vm }: CommandContext,
  { format: asked = "", address }: DumpArguments,
  call: CommandCall,
  virtual: boolean,
): Promise<string> {
  const state = call.monitor as MonitorState;
  const request = parseDumpFormat(asked);
  const format = request.format ?? state.format;
  const size = request.size ?? state.size;
  if (request.count * size > MAX_DUMP_BYTES) throw lineError(`at most ${MAX_DUMP_BYTES} bytes can be shown at once`);
  const text = await vm.inspect(
    () => {
      const { memory, vm: kvm } = vm.machine;
      const vcpu = kvm.vcpus[state.cpu];
      if (vcpu === undefined) throw lineError("there is no such CPU");
      const registers: RegisterReader = (name) => {
        const values = getRegisters(vcpu) as unknown as Readonly<Record<string, bigint>>;
        return values[short[name] ?? name];
      };
      const physical = (gpa: bigint, length: number) => (memory.has(gpa, length) ? memory.read(gpa, length) : null);
      const translated = (gva: bigint, length: number) => {
        const bytes = new Uint8Array(length);
        for (let done = 0; done < length; ) {
          const at = gva + BigInt(done);
          const step = Math.min(length - done, Number(PAGE - (at % PAGE)));
          const gpa = vcpu.translate(at);
          const piece = gpa === null ? null : physical(gpa, step);
          if (piece === null) return null;
          bytes.set(piece, done);
          done += step;
        }
        return bytes;
      };
      const start = evaluate(address, registers);
      return dumpMemory({ address: start, count: request.count, format, size, read: virtual ? translated : physical });
    },
    { signal: call.signal },
  );
  state.format = format;
  state.size = size;
  return text;
}

function saveMemory(memory: GuestMemory, gpa: number, size: number, path: string): void {
  if (gpa < 0 || size < 1) throw new BatonError("INVALID_ARGUMENT", `${size} bytes at ${gpa} are no range of memory`);
  const slices = memory.slices(gpa, size);
  const file = openSync(path, "w", 0o600);
  try {
    for (const slice of slices) writeFileSync(file, slice);
  } finally {
    closeSync(file);
  }
}

const form = (help: string): MonitorForm<string> => ({
  parameters: [
    { name: "format", kind: "format", optional: true },
    { name: "address", kind: "rest" },
  ],
  usage: "/fmt addr",
  help,
  render: (text) => text,
});

const args = {
  format: { type: str, optional: true, doc: "a count, one of `x d u o c`, and a size: `b h w g`" },
  address: { type: str, doc: "an expression; `$rip` and the like are registers" },
} as const;

const errors = { PAUSE_TIMEOUT: "a device of the embedder's did not answer in time; the guest runs on" };

/** What lies in the guest's memory. */
export const memoryCommands: readonly Command[] = [
  defineCommand({
    name: "x",
    doc: "Shows memory at an address as the current vCPU sees it. The guest is held while it is read.",
    monitorOnly: true,
    monitor: form("virtual memory dump starting at 'addr'"),
    arguments: args,
    returns: str,
    errors,
    handler: (context, given, call) => show(context, given, call, true),
  }),
  defineCommand({
    name: "xp",
    doc: "Shows memory at a physical address. The guest is held while it is read.",
    monitorOnly: true,
    monitor: form("physical memory dump starting at 'addr'"),
    arguments: args,
    returns: str,
    errors,
    handler: (context, given, call) => show(context, given, call, false),
  }),
  defineCommand({
    name: "pmemsave",
    doc: "Writes guest-physical memory to a file. The guest is held while it is read.",
    monitor: {
      parameters: [
        { name: "val", kind: "word" },
        { name: "size", kind: "word" },
        { name: "filename", kind: "rest" },
      ],
      usage: "addr size file",
      help: "save to disk physical memory dump starting at 'addr' of size 'size'",
      toArguments: ({ val, size, filename }) => ({ val: Number(val), size: Number(size), filename }),
    },
    arguments: {
      val: { type: int, doc: "the address" },
      size: { type: int, doc: "bytes" },
      filename: { type: str, doc: "the file; one that is there is replaced" },
    },
    returns: nothing,
    errors: { ...errors, GUEST_MEMORY_OUT_OF_BOUNDS: "there is no RAM", SYSCALL_FAILED: "the file cannot be written" },
    async handler({ vm }, { val, size, filename }, { signal }) {
      await vm.inspect(() => saveMemory(vm.machine.memory, val, size, filename), { signal });
      return {};
    },
  }),
];
