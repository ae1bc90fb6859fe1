import type { DescriptorSchema, FieldSchema, SectionSchema, VmstateSchema } from "./schema.js";

/** What keeps the states of one program from being loaded by another. */
export interface SchemaBreak {
  /** The field, as in `virtio-blk/queue/last_avail`. */
  readonly path: string;
  /** Why, in a sentence. */
  readonly reason: string;
}

/**
 * What would break if a program with the schema `from` sent its states to one with the schema `to`, in QEMU's encoding:
 * nothing, if the list is empty. Called both ways it tells whether older and newer programs understand each other.
 */
export function schemaBreaks(from: VmstateSchema, to: VmstateSchema): SchemaBreak[] {
  const breaks: SchemaBreak[] = [];
  for (const [name, section] of Object.entries(from)) {
    const other = to[name];
    if (other === undefined) breaks.push({ path: name, reason: "the reader does not know this section" });
    else new Comparison(breaks).section(section, other);
  }
  return breaks;
}

/** A struct with the version that it is written or read as. */
type AsVersion = DescriptorSchema & { readonly as: number };

class Comparison {
  readonly #breaks: SchemaBreak[];

  constructor(breaks: SchemaBreak[]) {
    this.#breaks = breaks;
  }

  #break(path: string, reason: string): void {
    this.#breaks.push({ path, reason });
  }

  section(from: SectionSchema, to: SectionSchema): void {
    this.#versioned(from.Description, to.Description, from.Name);
  }

  /** A state whose version stands in the stream. */
  #versioned(from: DescriptorSchema, to: DescriptorSchema, path: string): void {
    const version = from.version_id;
    if (version > to.version_id) {
      this.#break(path, `version ${version} is written, the reader knows up to ${to.version_id}`);
      return;
    }
    if (version < to.minimum_version_id) {
      this.#break(path, `version ${version} is written, the reader knows from ${to.minimum_version_id} on`);
      return;
    }
    this.#struct({ ...from, as: version }, { ...to, as: version }, path);
  }

  /** A struct that is written as one version and read as one. */
  #struct(from: AsVersion, to: AsVersion, path: string): void {
    this.#fields(from, to, path);
    for (const sub of from.Subsections ?? []) {
      const other = to.Subsections?.find(({ vmsd_name }) => vmsd_name === sub.vmsd_name);
      if (other !== undefined) this.#versioned(sub, other, sub.vmsd_name);
      else this.#break(sub.vmsd_name, "the reader does not know this subsection, and refuses states that have it");
    }
  }

  /** Fields follow each other without names: those that are written must be those that are read. */
  #fields(from: AsVersion, to: AsVersion, path: string): void {
    const written = from.Fields.filter(({ version_id }) => version_id <= from.as);
    const read = to.Fields.filter(({ version_id }) => version_id <= to.as);
    for (let i = 0; i < Math.max(written.length, read.length); i++) {
      const field = written[i];
      const other = read[i];
      if (field === undefined) {
        this.#break(`${path}/${other?.field}`, "the reader expects this field, which is not written");
        return;
      }
      if (other === undefined) {
        this.#break(`${path}/${field.field}`, "the reader does not expect this field");
        return;
      }
      if (!this.#field(field, other, `${path}/${field.field}`)) return;
    }
  }

  /** Whether what follows can still be compared. */
  #field(from: FieldSchema, to: FieldSchema, path: string): boolean {
    const differs = (what: string, mine: unknown, theirs: unknown) => {
      if (mine === theirs) return false;
      this.#break(path, `${what} is ${String(mine)}, for the reader ${String(theirs)} (its field '${to.field}')`);
      return true;
    };
    // The rules of equal fields and limits are the reader's own, and a struct is as its version says.
    const plain = (type: string) => type.replace(/ (equal|le)$/, "").replace(/^vstruct/, "struct");
    if (differs("the type", plain(from.type), plain(to.type))) return false;
    if (differs("the number of elements", from.count, to.count)) return false;
    if (from.Description === undefined && differs("the size", from.size, to.size)) return false;
    if (from.field_exists !== to.field_exists) {
      this.#break(
        path,
        from.field_exists ? "it may be left out, but the reader expects it" : "the reader may not expect it",
      );
      return false;
    }
    for (const part of ["keys", "elements"] as const) {
      const [mine, theirs] = [from[part], to[part]];
      if (mine !== undefined && theirs !== undefined && !this.#field(mine, theirs, path)) return false;
      if (differs(part, mine === undefined, theirs === undefined)) return false;
    }
    if (from.Description !== undefined && to.Description !== undefined) {
      // Streams carry no version for a struct within: the reader takes it for its own.
      const asVersion = (struct: DescriptorSchema, pinned = struct.version_id) => ({ ...struct, as: pinned });
      const written = asVersion(from.Description, from.struct_version_id);
      this.#struct(written, asVersion(to.Description, to.struct_version_id), path);
    }
    return true;
  }
}
