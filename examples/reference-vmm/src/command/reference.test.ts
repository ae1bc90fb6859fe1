import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import { eventTable } from "./event-table.js";
import { renderReference } from "./reference.js";
import { commandTable } from "./table.js";

const path = fileURLToPath(new URL("../../../../docs/qmp.md", import.meta.url));
const begin = "<!-- reference: written by BATON_UPDATE_DOCS=1 npm test -- src/command/reference -->\n\n";
const end = "\n\n<!-- end of reference -->";

test("docs/qmp.md describes the command table as it is", () => {
  const page = readFileSync(path, "utf8");
  const from = page.indexOf(begin) + begin.length;
  const to = page.indexOf(end);
  expect(from).toBeGreaterThan(begin.length);
  expect(to).toBeGreaterThan(from - 1);
  const reference = renderReference(commandTable.commands, eventTable);
  if (process.env.BATON_UPDATE_DOCS === "1") writeFileSync(path, page.slice(0, from) + reference + page.slice(to));
  else expect(page.slice(from, to)).toBe(reference);
});
