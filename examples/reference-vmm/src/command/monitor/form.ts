import type { CommandContext } from "../command.js";
import type { CommandTable } from "../command-table.js";
import type { Members } from "../schema.js";
import type { DumpFormat, DumpSize } from "./dump-format.js";

/** What a client of the human monitor has set for itself. */
export interface MonitorState {
  /** The vCPU that commands look at. */
  cpu: number;
  /** How memory was shown last. */
  format: DumpFormat;
  size: DumpSize;
}

/** The state of a client that has set nothing. */
export function monitorState(cpu = 0): MonitorState {
  return { cpu, format: "x", size: 4 };
}

/**
 * How a parameter is written: a `word` (quotes keep spaces in it), the `rest` of the line, a `size` in MiB unless it has
 * a unit, a `switch` (`on` or `off`), an option string such as `virtio-blk-mmio,id=d0`, or a `/FMT` of memory dumps.
 */
export type ParameterKind = "word" | "rest" | "size" | "switch" | "options" | "format";

/** A parameter of a command on the monitor. */
export interface MonitorParameter {
  /** The argument of the command that it gives. */
  readonly name: string;
  readonly kind: ParameterKind;
  readonly optional?: boolean;
  /** Of an option string: the argument that its first element is, where that has no `=`. */
  readonly implied?: string;
  /** What may stand here, for completion. */
  choices?(context: CommandContext, table: CommandTable): readonly string[];
}

/** A command as the human monitor has it. */
export interface MonitorForm<R = unknown> {
  /** Its name there, the command's own unless given; `info NAME` for what is asked with `info`. */
  readonly name?: string;
  readonly aliases?: readonly string[];
  readonly parameters?: readonly MonitorParameter[];
  /** The parameters as `help` shows them. */
  readonly usage?: string;
  /** What it does, as `help` says it. */
  readonly help: string;
  /** The command's arguments, of which `members` tells, where they are not the parameters by their names. */
  toArguments?(values: Readonly<Record<string, unknown>>, members: Members): Readonly<Record<string, unknown>>;
  /** The result as text, each line with its end; nothing is said unless given. */
  render?(result: R, state: MonitorState): string;
}

/** The ids of all devices: choices of a parameter. */
export const deviceIds: NonNullable<MonitorParameter["choices"]> = ({ vm }) =>
  vm.machine.virtio.devices.map(({ id }) => id);
