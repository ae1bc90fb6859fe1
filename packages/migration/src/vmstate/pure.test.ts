import { readdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "@jest/globals";

it("vmstate imports nothing but itself", () => {
  const folder = dirname(fileURLToPath(import.meta.url));
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const sources = files.filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
  expect(sources.length).toBeGreaterThan(20);
  for (const file of sources) {
    const text = readFileSync(`${folder}/${file}`, "utf8");
    for (const [, from] of text.matchAll(/\bfrom "([^"]+)"/g)) expect([file, from![0]]).toEqual([file, "."]);
    expect([file, /\bprocess\.\w|\bBuffer\b|\brequire\(|\bimport\(/.test(text)]).toEqual([file, false]);
  }
});
