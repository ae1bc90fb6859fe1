import { BatonError } from "@baton/linux";
import { type Members, type Schema, type StaticMembers, schemaName } from "./schema.js";

/**
 * `given` as the arguments that `members` declare, nothing else in it.
 *
 * Errors, in QEMU's words: `ARGUMENT_MISSING`, `ARGUMENT_UNEXPECTED`, `ARGUMENT_TYPE`, `ARGUMENT_VALUE`; their messages
 * name the argument with its path, as in `file.driver` or `capabilities[0].state`.
 */
export function checkArguments<M extends Members>(
  members: M,
  given: Readonly<Record<string, unknown>>,
): StaticMembers<M> {
  return checkMembers(members, given, "") as StaticMembers<M>;
}

function checkMembers(members: Members, given: object, prefix: string): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(members)) {
    const value = Object.hasOwn(given, name) ? (given as Record<string, unknown>)[name] : undefined;
    if (value !== undefined) result[name] = checkValue(member.type, value, prefix + name);
    else if (!member.optional) {
      throw new BatonError("ARGUMENT_MISSING", `Parameter '${prefix}${name}' is missing`);
    }
  }
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(members, name)) {
      throw new BatonError("ARGUMENT_UNEXPECTED", `Parameter '${prefix}${name}' is unexpected`);
    }
  }
  return result;
}

function checkValue(schema: Schema, value: unknown, path: string): unknown {
  switch (schema.kind) {
    case "any":
      return value;
    case "string":
      if (typeof value !== "string") throw wrongType(schema, path);
      return value;
    case "bool":
      if (typeof value !== "boolean") throw wrongType(schema, path);
      return value;
    case "int":
      if (typeof value === "bigint") throw wrongValue(path, `an integer of at most ${Number.MAX_SAFE_INTEGER}`);
      if (!Number.isSafeInteger(value)) throw wrongType(schema, path);
      return value;
    case "enum":
      if (typeof value !== "string") throw wrongType({ kind: "string" }, path);
      if (!schema.values.includes(value)) {
        throw new BatonError("ARGUMENT_VALUE", `Parameter '${path}' does not accept value '${value}'`);
      }
      return value;
    case "array":
      if (!Array.isArray(value)) throw wrongType(schema, path);
      return value.map((element, i) => checkValue(schema.of, element, `${path}[${i}]`));
    case "object":
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrongType(schema, path);
      return checkMembers(schema.members, value, `${path}.`);
    default:
      return schema satisfies never;
  }
}

function wrongType(schema: Schema, path: string): BatonError {
  const expected = schema.kind === "array" ? "array" : schemaName(schema);
  return new BatonError("ARGUMENT_TYPE", `Invalid parameter type for '${path}', expected: ${expected}`);
}

function wrongValue(path: string, expected: string): BatonError {
  return new BatonError("ARGUMENT_VALUE", `Parameter '${path}' expects ${expected}`);
}
