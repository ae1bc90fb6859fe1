/** One test point of a TAP stream. */
export interface TapTest {
  readonly ok: boolean;
  /** Its description; that of a subtest comes after the descriptions of the tests around it, joined by ` > `. */
  readonly name: string;
  /** The reason of a `# SKIP` directive. */
  readonly skip?: string;
  /** The reason of a `# TODO` directive. */
  readonly todo?: string;
  /** 0 for a point at the left margin, 1 for a subtest, and so on. */
  readonly depth: number;
  /** The YAML block and the comments that follow the point, as text. */
  readonly diagnostics: string;
}

/** What a TAP stream (version 13 or 14) said. */
export interface TapResult {
  readonly tests: readonly TapTest[];
  /** True if no point failed (a TODO may), and the stream is complete. */
  readonly ok: boolean;
  /** What is wrong with the stream itself: no plan, fewer points than planned, a bail-out. */
  readonly problems: readonly string[];
}

const POINT = /^( *)(not )?ok\b(?:\s+(\d+))?(?:\s+-)?\s*(.*)$/;
const PLAN = /^1\.\.(\d+)(?:\s*#\s*(.*))?$/;

interface OpenPoint {
  ok: boolean;
  description: string;
  skip?: string;
  todo?: string;
  depth: number;
  children: OpenPoint[];
  lines: string[];
}

/** Reads TAP among other output, which is ignored. Subtests are indented by four spaces and come before their parent. */
export function parseTap(lines: Iterable<string>): TapResult {
  const problems: string[] = [];
  const tests: TapTest[] = [];
  /** Points without a parent yet, by depth. */
  const waiting: OpenPoint[][] = [];
  let last: OpenPoint | undefined;
  let inYaml = false;
  let planned: number | undefined;

  for (const line of lines) {
    if (inYaml) {
      if (/^\s*\.\.\.\s*$/.test(line)) inYaml = false;
      else last?.lines.push(line);
      continue;
    }
    if (last !== undefined && /^\s+---\s*$/.test(line)) {
      inYaml = true;
      continue;
    }
    const point = POINT.exec(line);
    if (point !== null && point[1]!.length % 4 === 0) {
      const depth = point[1]!.length / 4;
      last = readPoint(depth, point[2] === undefined, point[4]!);
      last.children = waiting[depth + 1] ?? [];
      waiting.length = Math.min(waiting.length, depth + 1);
      for (let level = 0; level <= depth; level++) waiting[level] ??= [];
      waiting[depth]!.push(last);
      continue;
    }
    const plan = PLAN.exec(line);
    if (plan !== null) {
      planned = Number(plan[1]);
    } else if (/^\s*Bail out!/.test(line)) {
      problems.push(line.trim());
    } else if (/^\s*#/.test(line) && !/^\s*# Subtest:/.test(line)) {
      last?.lines.push(line);
    }
  }

  const flatten = (points: readonly OpenPoint[], prefix: string): void => {
    for (const { ok, description, skip, todo, depth, children, lines: text } of points) {
      const name = `${prefix}${description}`;
      flatten(children, `${name} > `);
      const directives = { ...(skip === undefined ? {} : { skip }), ...(todo === undefined ? {} : { todo }) };
      tests.push({ ok, name, depth, diagnostics: text.join("\n"), ...directives });
    }
  };
  flatten(waiting[0] ?? [], "");
  for (const orphans of waiting.slice(1)) {
    flatten(orphans ?? [], "");
    if (orphans.length > 0) problems.push(`the stream ends inside a group of ${orphans.length} subtests`);
  }
  const seen = tests.filter((test) => test.depth === 0).length;
  if (planned === undefined) problems.push("the stream has no plan (1..N)");
  else if (planned !== seen) problems.push(`the plan promises ${planned} tests, ${seen} reported`);
  const ok = problems.length === 0 && tests.every((test) => test.ok || test.todo !== undefined);
  return { tests, ok, problems };
}

function readPoint(depth: number, ok: boolean, rest: string): OpenPoint {
  const point: OpenPoint = { ok, description: rest, depth, children: [], lines: [] };
  const directive = /^(.*?)\s*(?<!\\)#\s*(SKIP|TODO)\b\S*\s*(.*)$/i.exec(rest);
  if (directive !== null) {
    point.description = directive[1]!;
    if (directive[2]!.toUpperCase() === "SKIP") point.skip = directive[3]!;
    else point.todo = directive[3]!;
  }
  point.description = point.description.replaceAll("\\#", "#").trim();
  return point;
}
