/** How often a repeated test runs: `quick` in `npm test`, `full` in `npm run soak`, or what `BATON_ROUNDS` says. */
export function rounds(counts: { readonly quick: number; readonly full: number }): number {
  const asked = Number(process.env.BATON_ROUNDS);
  if (Number.isInteger(asked) && asked > 0) return asked;
  return process.env.BATON_SOAK ? counts.full : counts.quick;
}
