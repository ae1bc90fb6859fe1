import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import { renderOptions } from "./reference.js";
import { optionTable } from "./table.js";

const path = fileURLToPath(new URL("../../../../docs/baton.md", import.meta.url));
const begin = "<!-- options: written by BATON_UPDATE_DOCS=1 npm test -- options/reference -->\n\n";
const end = "\n\n<!-- end of options -->";

test("docs/baton.md describes the option table as it is", () => {
  const page = readFileSync(path, "utf8");
  const from = page.indexOf(begin) + begin.length;
  const to = page.indexOf(end);
  expect(from).toBeGreaterThan(begin.length);
  expect(to).toBeGreaterThan(from - 1);
  const reference = renderOptions(optionTable);
  if (process.env.BATON_UPDATE_DOCS === "1") writeFileSync(path, page.slice(0, from) + reference + page.slice(to));
  else expect(page.slice(from, to)).toBe(reference);
});
