/** The words `name=value` of a guest's command line; parameters that are undefined keep their defaults. */
export function commandLine(parameters: Readonly<object>): string {
  return Object.entries(parameters)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}
