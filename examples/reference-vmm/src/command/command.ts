import type { VirtualMachine } from "../virtual-machine.js";
import type { CommandTable } from "./command-table.js";
import type { Members, Schema, Static, StaticMembers } from "./schema.js";

/** What commands act upon. */
export interface CommandContext {
  /** The virtual machine. */
  readonly vm: Pick<VirtualMachine, keyof VirtualMachine>;
  /** Ends the program that runs the VM; called after the guest has been shut down and the answer has been sent. */
  quit(): void | Promise<void>;
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
  /** Has `work` begin once the answer is on its way; no other command of the connection runs before it is done. */
  afterReply(work: (connection: Connection) => void | Promise<void>): void;
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
  /** Carries it out; the arguments have been checked. */
  handler(context: CommandContext, args: StaticMembers<A>, call: CommandCall): Static<R> | Promise<Static<R>>;
}

/** A command, its handler's types taken from the declared arguments and result. */
export function defineCommand<const A extends Members, const R extends Schema>(command: Command<A, R>): Command {
  return command as unknown as Command;
}
