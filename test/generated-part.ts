import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A part of a page of documentation that is made from the code, between a mark and the mark that ends it. */
export class GeneratedPart {
  /** What the page has now. */
  readonly text: string;
  readonly #path: string;
  readonly #page: string;
  readonly #from: number;

  /** `page` from the repository's root; `name` as the marks have it, `test` the file that writes it. Fails without marks. */
  constructor(page: string, name: string, test: string) {
    this.#path = fileURLToPath(new URL(`../${page}`, import.meta.url));
    this.#page = readFileSync(this.#path, "utf8");
    const begin = `<!-- ${name}: written by BATON_UPDATE_DOCS=1 npm test -- ${test} -->\n\n`;
    const start = this.#page.indexOf(begin);
    const to = this.#page.indexOf(`\n\n<!-- end of ${name} -->`, start);
    if (start < 0 || to < 0) throw new Error(`${page} has no part '${name}' between '${begin.trim()}' and its end`);
    this.#from = start + begin.length;
    this.text = this.#page.slice(this.#from, to);
  }

  /** With `BATON_UPDATE_DOCS=1` puts `text` in its place; gives what the page has then. */
  updated(text: string): string {
    if (process.env.BATON_UPDATE_DOCS !== "1") return this.text;
    const after = this.#page.slice(this.#from + this.text.length);
    writeFileSync(this.#path, this.#page.slice(0, this.#from) + text + after);
    return text;
  }
}
