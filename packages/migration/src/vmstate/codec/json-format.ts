/** What JSON carries. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [name: string]: JsonValue };

/** The member with the version of a state or subsection. Members of states never start with `$`. */
export const VERSION_MEMBER = "$version";
/** The member with a struct's subsections, by name. */
export const SUBSECTIONS_MEMBER = "$subsections";
