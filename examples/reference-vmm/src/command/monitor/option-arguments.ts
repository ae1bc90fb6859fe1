import { parseSubOptions } from "../../options/grammar.js";
import type { Members, Schema } from "../schema.js";

type Arguments = Record<string, unknown>;

/**
 * The arguments that an option string such as `virtio-blk-mmio,id=d0,cache.direct=on` stands for: numbers and switches
 * as `members` declare them, dots for members of objects. What is not declared stays a text, which the command refuses
 * by its name. Fails with `OPTION_INVALID`.
 */
export function optionArguments(command: string, text: string, members: Members, implied?: string): Arguments {
  const { first, pairs } = parseSubOptions(command, text, implied !== undefined);
  const head = first === undefined || implied === undefined ? [] : [[implied, first] as const];
  return typedArguments([...head, ...pairs], members);
}

/** Arguments of texts by their keys, as {@link optionArguments} has them. */
export function typedArguments(entries: Iterable<readonly [key: string, value: string]>, members: Members): Arguments {
  const given: Arguments = {};
  for (const [key, value] of entries) assign(given, members, declaredName(key, members), value);
  return given;
}

/** Keys have `-` and `_` for each other; members have one of the two. */
function declaredName(key: string, members: Members): string {
  const same = (name: string) => name.replaceAll("_", "-") === key.replaceAll("_", "-");
  return Object.keys(members).find(same) ?? key;
}

function assign(target: Arguments, members: Members, key: string, text: string): void {
  const dot = key.indexOf(".");
  const head = declaredName(dot < 0 ? key : key.slice(0, dot), members);
  const type = Object.hasOwn(members, head) ? members[head]?.type : undefined;
  if (dot < 0 || Object.hasOwn(members, key) || type?.kind !== "object") {
    const whole = Object.hasOwn(members, key) ? members[key]?.type : undefined;
    target[key] = typed(text, whole);
    return;
  }
  target[head] ??= {};
  assign(target[head] as Arguments, type.members, declaredName(key.slice(dot + 1), type.members), text);
}

/** A text as the declared type has it; one that cannot be read so stays a text, which the check of arguments names. */
function typed(text: string, type: Schema | undefined): unknown {
  if (type?.kind === "int" && /^-?(0x[0-9a-f]+|[0-9]+)$/i.test(text)) {
    return text.startsWith("-") ? -Number(text.slice(1)) : Number(text);
  }
  if (type?.kind === "bool" && /^(on|yes|true)$/.test(text)) return true;
  if (type?.kind === "bool" && /^(off|no|false)$/.test(text)) return false;
  return text;
}
