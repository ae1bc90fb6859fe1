import { execFile } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import ts from "typescript";
import { describeKvm } from "../../../test/describe-kvm.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const generated = new Set(["node_modules", "dist", "temp", "etc", "coverage", "docs/api"]);

/** All pages of the repository, by their paths. */
function findPages(directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.name.startsWith(".") || generated.has(entry.name) || generated.has(path)) return [];
    if (entry.isDirectory()) return findPages(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

const pages = findPages("");

/** A block of code behind a mark such as `<!-- run: hello.ts -->`. */
interface Block {
  readonly page: string;
  readonly mark: string;
  readonly argument: string;
  readonly code: string;
  /** The `text` block that follows it: what it prints. */
  readonly output: string | undefined;
}

const fenced = /<!-- (run|file|quote|sh): (\S+) -->\n\n```\w+\n([\s\S]*?)```\n(?:\n```text\n([\s\S]*?)```\n)?/g;

const blocks: readonly Block[] = pages.flatMap((page) =>
  [...readFileSync(join(root, page), "utf8").matchAll(fenced)].map(([, mark, argument, code, output]) => ({
    page,
    mark: mark as string,
    argument: argument as string,
    code: code as string,
    output,
  })),
);
const marked = (mark: string) =>
  blocks.filter((block) => block.mark === mark).map((block) => [block.page, block] as const);

describe("the documentation", () => {
  it.each(pages)("%s has a block of code behind each mark", (page) => {
    const marks = readFileSync(join(root, page), "utf8").match(/^<!-- (run|file|quote|sh): /gm) ?? [];
    expect(blocks.filter((block) => block.page === page)).toHaveLength(marks.length);
  });

  it.each(marked("quote"))("%s quotes a file as it is", (_, { argument, code }) => {
    expect(code).toBe(readFileSync(join(root, argument), "utf8"));
  });

  it.each(pages)("%s links to files and headings that exist", (page) => {
    const text = readFileSync(join(root, page), "utf8").replaceAll(/```[\s\S]*?```|`[^`\n]*`/g, "");
    const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]) => target as string)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [path, heading] = target.split("#");
        const file = path ? join(root, dirname(page), path) : join(root, page);
        return !existsSync(file) || (heading !== undefined && !headings(file).includes(heading));
      });
    expect(broken).toEqual([]);
  });
});

/** The anchors of a page's headings, as GitHub makes them. */
function headings(file: string): readonly string[] {
  return [...readFileSync(file, "utf8").matchAll(/^#+ (.+)$/gm)].map(([, text]) =>
    (text as string)
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Code of the pages, compiled into a directory of this package, so that its imports are found. */
class Workshop {
  readonly directory: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor() {
    const parent = fileURLToPath(new URL("../temp/", import.meta.url));
    mkdirSync(parent, { recursive: true });
    this.directory = mkdtempSync(join(parent, "readme-"));
    const baton = join(this.directory, "baton");
    const program = fileURLToPath(new URL("../dist/baton.js", import.meta.url));
    writeFileSync(baton, `#!/bin/sh\nexec ${process.execPath} ${program} "$@"\n`);
    chmodSync(baton, 0o755);
    const { NODE_OPTIONS: _, ...env } = process.env;
    this.#env = { ...env, PATH: `${this.directory}:${env.PATH}` };
  }

  compile({ page, argument, code }: Block): string {
    const directory = join(this.directory, page.replaceAll("/", "-"));
    mkdirSync(directory, { recursive: true });
    const path = join(directory, argument.replace(/\.ts$/, ".js"));
    const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
    writeFileSync(path, ts.transpileModule(code, { compilerOptions }).outputText);
    return path;
  }

  async run(file: string, args: readonly string[]): Promise<{ stdout: string; code: number }> {
    try {
      const child = run(file, args, { cwd: root, env: this.#env, timeout: 30_000 });
      child.child.stdin?.end();
      return { stdout: (await child).stdout, code: 0 };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout: string; stderr: string };
      if (typeof code !== "number") throw error;
      process.stderr.write(stderr);
      return { stdout, code };
    }
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const tidy = (text: string) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .join("\n");

describeKvm("the documentation's examples", () => {
  let workshop: Workshop;
  beforeAll(() => {
    workshop = new Workshop();
    for (const [, block] of marked("file")) workshop.compile(block);
  });
  afterAll(() => workshop.close());

  it.each(marked("run").map(([page, block]) => [page, block.argument, block] as const))(
    "%s: %s prints what the page says",
    async (_, __, block) => {
      const { stdout, code } = await workshop.run(process.execPath, [workshop.compile(block)]);
      expect({ code, stdout: tidy(stdout) }).toEqual({ code: 0, stdout: tidy(block.output ?? "") });
    },
  );

  const lines = marked("sh").flatMap(([page, { code }]) =>
    code
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => [page, line] as const),
  );
  it.each(lines)("%s: `%s` does so", async (_, line) => {
    const expected = Number(/# exits with (\d+)/.exec(line)?.[1] ?? 0);
    const command = line.replaceAll("/tmp/", `${relative(root, workshop.directory)}/`);
    const { code } = await workshop.run("/bin/sh", ["-c", command]);
    expect(code).toBe(expected);
  });
});
