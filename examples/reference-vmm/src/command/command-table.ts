import { BatonError } from "@baton/linux";
import { checkArguments } from "./check-arguments.js";
import type { Command, CommandCall, CommandContext } from "./command.js";

/** Commands by name. */
export class CommandTable {
  readonly #commands: ReadonlyMap<string, Command>;

  constructor(commands: readonly Command[]) {
    this.#commands = new Map(
      [...commands].sort((a, b) => (a.name < b.name ? -1 : 1)).map((command) => [command.name, command]),
    );
    if (this.#commands.size !== commands.length) {
      throw new BatonError("INVALID_ARGUMENT", "Two commands have the same name");
    }
  }

  /** All commands, sorted by name. */
  get commands(): readonly Command[] {
    return [...this.#commands.values()];
  }

  /** The commands that programs may call, sorted by name. */
  get machineCommands(): readonly Command[] {
    return this.commands.filter(({ monitorOnly }) => !monitorOnly);
  }

  /** The command of a name, if there is one. */
  get(name: string): Command | undefined {
    return this.#commands.get(name);
  }

  /**
   * Carries out a command; resolves to what it returns. Errors: `COMMAND_NOT_FOUND`, those of `checkArguments`, and the
   * command's own.
   */
  async execute(
    context: CommandContext,
    name: string,
    args: Readonly<Record<string, unknown>>,
    call: Omit<CommandCall, "table">,
  ): Promise<unknown> {
    const command = this.get(name);
    if (command === undefined || (command.monitorOnly && call.monitor === undefined)) {
      throw new BatonError("COMMAND_NOT_FOUND", `The command ${name} has not been found`);
    }
    return command.handler(context, checkArguments(command.arguments, args), { ...call, table: this });
  }
}
