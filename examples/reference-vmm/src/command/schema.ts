/** A type of the management interface: what an argument may be, or what a command returns. */
export type Schema =
  | { readonly kind: "string" | "int" | "bool" | "any" }
  | { readonly kind: "enum"; readonly values: readonly string[] }
  | { readonly kind: "array"; readonly of: Schema }
  | { readonly kind: "object"; readonly members: Members };

/** One member of an object. */
export interface Member {
  readonly type: Schema;
  readonly optional?: boolean;
  /** What it means, as a sentence without a full stop. */
  readonly doc?: string;
}

/** The members of an object, by name. */
export type Members = Readonly<Record<string, Member>>;

/** A text. */
export const str = { kind: "string" } as const;
/** A whole number that a double holds exactly. */
export const int = { kind: "int" } as const;
/** True or false. */
export const bool = { kind: "bool" } as const;
/** Any value. */
export const any = { kind: "any" } as const;
/** An object without members: what a command returns that has nothing to say. */
export const nothing = { kind: "object", members: {} } as const;

/** One of some words. */
export function oneOf<const V extends readonly string[]>(...values: V): { readonly kind: "enum"; readonly values: V } {
  return { kind: "enum", values };
}

/** A list of values of one type. */
export function arrayOf<const S extends Schema>(of: S): { readonly kind: "array"; readonly of: S } {
  return { kind: "array", of };
}

/** An object with just these members. */
export function object<const M extends Members>(members: M): { readonly kind: "object"; readonly members: M } {
  return { kind: "object", members };
}

/** The TypeScript type of the values of a schema. */
export type Static<S extends Schema> = S extends { kind: "string" }
  ? string
  : S extends { kind: "int" }
    ? number
    : S extends { kind: "bool" }
      ? boolean
      : S extends { kind: "enum"; values: readonly (infer V)[] }
        ? V
        : S extends { kind: "array"; of: infer E extends Schema }
          ? readonly Static<E>[]
          : S extends { kind: "object"; members: infer M extends Members }
            ? StaticMembers<M>
            : unknown;

type OptionalNames<M extends Members> = { [K in keyof M]: M[K] extends { optional: true } ? K : never }[keyof M];

/** The TypeScript type of an object with these members. */
export type StaticMembers<M extends Members> = {
  readonly [K in Exclude<keyof M, OptionalNames<M>>]: Static<M[K]["type"]>;
} & { readonly [K in OptionalNames<M>]?: Static<M[K]["type"]> };

/** How messages and documents call a type, by JSON's names. */
export function schemaName(schema: Schema): string {
  switch (schema.kind) {
    case "int":
      return "integer";
    case "bool":
      return "boolean";
    case "enum":
      return schema.values.map((value) => `"${value}"`).join(" or ");
    case "array":
      return `array of ${schemaName(schema.of)}`;
    default:
      return schema.kind;
  }
}
