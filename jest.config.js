/** All packages' tests in one run; `scripts/test.mjs` picks the tiers. */
export default {
  projects: ["packages/*", "examples/*", "guests", "testbed", "bench"].map((path) => `<rootDir>/${path}`),
};
