import { type ParseArgsConfig, parseArgs } from "node:util";
import { BatonError } from "@baton/linux";

/** The options of a subcommand, and the words beside them. */
export interface SubcommandArguments {
  readonly words: readonly string[];
  flag(name: string): boolean;
  /** A number of seconds from 0 to a million, in milliseconds; `fallback` is in milliseconds too. */
  seconds(name: string, fallback: number): number;
}

/** Reads what stands behind a subcommand. Fails with `OPTION_INVALID`, naming the usage. */
export function subcommandArguments(
  usage: string,
  args: readonly string[],
  options: NonNullable<ParseArgsConfig["options"]>,
  wordCount: number,
): SubcommandArguments {
  const wrong = (why: string) => new BatonError("OPTION_INVALID", `${why}; usage: ${usage}`);
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw wrong((error as Error).message.split(".")[0] as string);
  }
  const { values, positionals } = parsed;
  if (positionals.length !== wordCount) {
    throw wrong(positionals.length < wordCount ? "A name is missing" : `'${positionals[wordCount]}' is too much`);
  }
  return {
    words: positionals,
    flag: (name) => values[name] === true,
    seconds(name, fallback) {
      const text = values[name];
      if (text === undefined) return fallback;
      if (typeof text !== "string" || !/^\d{1,6}(\.\d{1,3})?$/.test(text)) {
        throw wrong(`--${name} ${text} is no number of seconds`);
      }
      return Number(text) * 1000;
    },
  };
}
