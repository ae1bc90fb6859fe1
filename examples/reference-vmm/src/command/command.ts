import type { VirtualMachine } from "../virtual-machine.js";
import type { ClientDescriptors } from "./client-descriptors.js";
import type { CommandTable } from "./command-table.js";
import type { MonitorForm, MonitorState } from "./monitor/form.js";
import type { Members, Schema, Static, StaticMembers } from "./schema.js";

/** What commands act upon. */
export interface CommandContext {
  /** The virtual machine. */
  readonly vm: Pick<VirtualMachine, keyof VirtualMachine>;
  /** Ends the program that runs the VM; called after the guest has been shut down and the answer has been sent. */
  quit(): void | Promise<void>;
  /** The program's log, where there is one. */
  readonly log?: LogControl;
}

/** What a program writes to its log, to be chosen while it runs. */
export interface LogControl {
  /** All kinds of messages, with what they are. */
  readonly items: Readonly<Record<string, string>>;
  /** Writes messages of these kinds and no others. */
  choose(items: readonly string[]): void;
}

/** Where a command came from, as far as commands may know. */
export interface Connection {
  /** Sends what is still to be sent, then ends the connection. */
  close(): Promise<void>;
}

/** One call of a command. */
export interface CommandCall {
  /** Aborted when the surface closes; a command that waits gives up then. */
  readonly signal: AbortSignal;
  /** The table in which the command was found. */
  readonly table: CommandTable;
  /** What the client has sent beside its commands, where the surface carries descriptors. */
  readonly descriptors?: ClientDescriptors;
  /** Has `work` begin once the answer is on its way; no other command of the connection runs before it is done. */
  afterReply(work: (connection: Connection) => void | Promise<void>): void;
  /** Shows how far it is, on a line whose place the next one or the answer takes; where a person looks on. */
  readonly progress?: (line: string) => void;
  /** What the client has set for itself, where it is one of the human monitor. */
  readonly monitor?: MonitorState;
}

/** A command of the management interface, whichever surface it comes through. */
export interface Command<A extends Members = Members, R extends Schema = Schema> {
  readonly name: string;
  /** What it does, in sentences. */
  readonly doc: string;
  readonly arguments: A;
  readonly returns: R;
  /** Errors beside those of the arguments: what they mean, by `BatonError` code. */
  readonly errors?: Readonly<Record<string, string>>;
  /** How people use it; it is not on the human monitor without this. */
  readonly monitor?: MonitorForm<Static<R>>;
  /** Whether it is there for people alone: programs cannot call it. */
  readonly monitorOnly?: boolean;
  /** Carries it out; the arguments have been checked. */
  handler(context: CommandContext, args: StaticMembers<A>, call: CommandCall): Static<R> | Promise<Static<R>>;
}

/** A command, its handler's types taken from the declared arguments and result. */
export function defineCommand<const A extends Members, const R extends Schema>(command: Command<A, R>): Command {
  return command as unknown as Command;
}
