import { expect, test } from "@jest/globals";
import { GeneratedPart } from "../../../../test/generated-part.js";
import { eventTable } from "./event-table.js";
import { renderSurfaces } from "./monitor/reference.js";
import { renderReference } from "./reference.js";
import { commandTable } from "./table.js";

test("docs/qmp.md describes the command table as it is", () => {
  const reference = renderReference(commandTable.commands, eventTable);
  expect(new GeneratedPart("docs/qmp.md", "reference", "src/command/reference").updated(reference)).toBe(reference);
});

test("docs/monitor.md says which surface has which command", () => {
  const surfaces = renderSurfaces(commandTable);
  expect(new GeneratedPart("docs/monitor.md", "commands", "src/command/reference").updated(surfaces)).toBe(surfaces);
});
