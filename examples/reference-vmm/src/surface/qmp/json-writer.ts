const encodeString = (text: string): string =>
  JSON.stringify(text).replaceAll(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/**
 * A value as JSON in ASCII, everything else as `\u` escapes. Bigints become numbers; members that are undefined are left
 * out.
 */
export function encodeJson(value: unknown): string {
  if (typeof value === "string") return encodeString(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(encodeJson).join(",")}]`;
  const members: string[] = [];
  for (const [name, member] of Object.entries(value)) {
    if (member !== undefined) members.push(`${encodeString(name)}:${encodeJson(member)}`);
  }
  return `{${members.join(",")}}`;
}
