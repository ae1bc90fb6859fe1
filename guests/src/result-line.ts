/** The pairs `name=value` of the last whole line that starts with `start`; undefined without one. */
export function resultLine(output: string, start: string): ReadonlyMap<string, string> | undefined {
  const line = output
    .split(/\r?\n/)
    .slice(0, -1)
    .findLast((text) => text.startsWith(start));
  if (line === undefined) return undefined;
  return new Map([...line.slice(start.length).matchAll(/(\S+?)=(\S+)/g)].map(([, name, value]) => [name!, value!]));
}

/** The decimal number of that name in a result line. */
export function resultNumber(result: ReadonlyMap<string, string>, name: string): number {
  const text = result.get(name);
  if (text === undefined || !/^\d+$/.test(text)) throw new Error(`a result line has no number ${name}: ${text}`);
  return Number(text);
}

/** The time stamps of the lines `begin TSC` and `end TSC …` of a benchmark. */
export function resultTimes(output: string): { readonly beginTsc: bigint; readonly endTsc: bigint } | undefined {
  const begin = /^begin (\d+)\r?$/m.exec(output);
  const end = /^end (\d+) \d+\r?$/m.exec(output);
  if (begin === null || end === null) return undefined;
  return { beginTsc: BigInt(begin[1]!), endTsc: BigInt(end[1]!) };
}
