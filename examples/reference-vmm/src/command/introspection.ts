import type { CommandTable } from "./command-table.js";
import type { EventDescription } from "./event-table.js";
import { type Members, nothing, object, type Schema } from "./schema.js";

/** One entity of `query-qmp-schema` (QAPI `SchemaInfo`). */
export interface SchemaInfo {
  readonly name: string;
  readonly "meta-type": "command" | "event" | "object" | "array" | "enum" | "builtin";
  readonly [member: string]: unknown;
}

const builtins = {
  string: { name: "str", "json-type": "string" },
  int: { name: "int", "json-type": "int" },
  bool: { name: "bool", "json-type": "boolean" },
  any: { name: "any", "json-type": "value" },
} as const;

/** Commands and events with all their types, as `query-qmp-schema` lists them; types of equal shape are one entity. */
export function schemaInfo(table: CommandTable, events: readonly EventDescription[]): readonly SchemaInfo[] {
  const types = new TypeEntities();
  const commands = table.machineCommands.map(
    (command): SchemaInfo => ({
      name: command.name,
      "meta-type": "command",
      "arg-type": types.name(object(command.arguments)),
      "ret-type": types.name(command.returns),
      "allow-oob": false,
    }),
  );
  const described = events.map(
    (event): SchemaInfo => ({ name: event.name, "meta-type": "event", "arg-type": types.name(object(event.data)) }),
  );
  return [...commands, ...described, ...types.entities];
}

/** Gives each type a name: numbers for objects and enums, as QEMU does, since clients must not depend on them. */
class TypeEntities {
  readonly #byShape = new Map<string, SchemaInfo>();
  #next = 0;

  constructor() {
    this.name(nothing);
  }

  get entities(): readonly SchemaInfo[] {
    return [...this.#byShape.values()];
  }

  name(schema: Schema): string {
    switch (schema.kind) {
      case "array": {
        const element = this.name(schema.of);
        return this.#entity(`[${element}]`, { "meta-type": "array", "element-type": element }, `[${element}]`);
      }
      case "object": {
        const members = this.#members(schema.members);
        return this.#entity(JSON.stringify(members), { "meta-type": "object", members });
      }
      case "enum": {
        const { values } = schema;
        const members = values.map((name) => ({ name }));
        return this.#entity(`enum ${JSON.stringify(values)}`, { "meta-type": "enum", members, values });
      }
      default: {
        const { name, ...rest } = builtins[schema.kind];
        return this.#entity(name, { "meta-type": "builtin", ...rest }, name);
      }
    }
  }

  #members(members: Members): readonly object[] {
    return Object.entries(members).map(([name, member]) => ({
      name,
      type: this.name(member.type),
      ...(member.optional && { default: null }),
    }));
  }

  #entity(shape: string, info: Omit<SchemaInfo, "name">, name?: string): string {
    const known = this.#byShape.get(shape);
    if (known !== undefined) return known.name;
    const entity = { name: name ?? String(this.#next++), ...info } as SchemaInfo;
    this.#byShape.set(shape, entity);
    return entity.name;
  }
}
