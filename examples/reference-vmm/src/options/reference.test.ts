import { expect, test } from "@jest/globals";
import { GeneratedPart } from "../../../../test/generated-part.js";
import { renderOptions } from "./reference.js";
import { optionTable } from "./table.js";

test("docs/baton.md describes the option table as it is", () => {
  const options = renderOptions(optionTable);
  expect(new GeneratedPart("docs/baton.md", "options", "options/reference").updated(options)).toBe(options);
});
