/**
 * `npm test`: installs, builds, checks and runs every tier of tests; the last line says how many passed, failed and were
 * skipped. `npm run soak` is the same with the full counts. `npm test -- NAME ...` runs only test files whose path holds
 * one of the names.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import {
  build,
  checkPlatform,
  ensurePrograms,
  environment,
  installDependencies,
  main,
  root,
  run,
  runQuietly,
} from "./setup.mjs";

const arguments_ = process.argv.slice(2);
const soak = arguments_.includes("--soak");

/** How much of a failed test's message the summary repeats. */
const FAILURE_LINES = 12;

const names = arguments_.filter((argument) => !argument.startsWith("--"));

/** Programs that tests use, with the Debian packages that bring them. */
const programs = {
  cc: "gcc libc6-dev",
  as: "binutils",
  socat: "socat",
  curl: "curl",
  "qemu-system-x86_64": "qemu-system-x86",
  busybox: "busybox-static",
  cpio: "cpio",
  iasl: "acpica-tools",
  ip: "iproute2",
  python3: "python3",
  xz: "xz-utils",
};

/** Checks before the tests, each a command that is quiet when all is well. */
const checks = [
  { name: "format and lint", command: "node_modules/.bin/biome", args: ["check", "."] },
  { name: "types", turbo: "typecheck" },
  { name: "packages (publint, attw)", turbo: "lint:pkg" },
  { name: "public API against its report", turbo: "api:check" },
  { name: "API documentation", command: "node_modules/.bin/typedoc", args: ["--logLevel", "Error"] },
];

/** Each tier's test files end differently; tests on KVM and in the testbed run one file at a time. */
const tiers = [
  { name: "unit", pattern: "(?<!\\.(kvm|testbed))\\.test\\.ts$", args: ["--maxWorkers=2"] },
  { name: "host KVM", pattern: "\\.kvm\\.test\\.ts$", args: ["--runInBand"] },
  { name: "testbed", pattern: "\\.testbed\\.test\\.ts$", args: ["--runInBand"] },
];

function runChecks() {
  const failed = [];
  for (const check of checks) {
    const started = performance.now();
    const turbo = ["run", check.turbo, "--continue", "--concurrency=2", "--output-logs=errors-only"];
    const ok = check.turbo ? runQuietly("turbo", turbo) : runQuietly(join(root, check.command), check.args);
    console.log(`${ok ? "ok    " : "FAILED"}  ${check.name} (${seconds(started)})`);
    if (!ok) failed.push(check.name);
  }
  return failed;
}

async function runTier(tier, directory) {
  const started = performance.now();
  const output = join(directory, `${tier.name}.json`);
  const pattern = names.length === 0 ? tier.pattern : `^(?=.*(${names.join("|")})).*${tier.pattern}`;
  const jest = ["--experimental-vm-modules", "--disable-warning=ExperimentalWarning", "node_modules/jest/bin/jest.js"];
  const args = [
    "--testPathPatterns",
    pattern,
    "--json",
    "--outputFile",
    output,
    "--passWithNoTests",
    "--testTimeout=60000",
    "--silent=false",
    ...tier.args,
  ];
  const env = { ...environment, ...(soak && { BATON_SOAK: "1" }) };
  console.log(`\n== ${tier.name} tests`);
  await run(process.execPath, [...jest, ...args], { env, stdio: ["ignore", "ignore", "inherit"] });
  let results;
  try {
    results = JSON.parse(readFileSync(output, "utf8"));
  } catch {
    return { ...tier, passed: 0, failed: 1, skipped: [], ran: 0, time: seconds(started), crash: "jest gave no result" };
  }
  const tests = results.testResults.flatMap((file) =>
    file.assertionResults.map((test) => ({ ...test, file: file.name })),
  );
  const brokenFiles = results.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.length === 0,
  ).length;
  const skipped = tests.filter(
    (test) => test.status === "pending" || test.status === "skipped" || test.status === "todo",
  );
  return {
    ...tier,
    passed: tests.filter((test) => test.status === "passed").length,
    failed: tests.filter((test) => test.status === "failed").length + brokenFiles,
    failures: tests.filter((test) => test.status === "failed"),
    skipped,
    time: seconds(started),
  };
}

function seconds(since) {
  return `${((performance.now() - since) / 1000).toFixed(0)} s`;
}

await main(async () => {
  const started = performance.now();
  checkPlatform();
  ensurePrograms(programs);
  console.log("Installing dependencies ...");
  installDependencies();
  console.log("Building ...");
  build();
  const failedChecks = names.length === 0 ? runChecks() : [];
  const directory = mkdtempSync(join(tmpdir(), "baton-test-"));
  const results = [];
  try {
    for (const tier of tiers) results.push(await runTier(tier, directory));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  console.log(`\n== Summary (${seconds(started)})`);
  for (const check of failedChecks) console.log(`check failed: ${check}`);
  for (const { name, passed, failed, skipped, failures = [], time, crash } of results) {
    console.log(
      `${name}: ${passed} passed, ${failed} failed, ${skipped.length} skipped (${time})${crash ? `: ${crash}` : ""}`,
    );
    for (const test of skipped) console.log(`  skipped: ${test.fullName}`);
    for (const test of failures) {
      console.log(`  failed: ${test.fullName} (${relative(root, test.file)})`);
      console.log(`    ${(test.failureMessages[0] ?? "").split("\n").slice(0, FAILURE_LINES).join("\n    ")}`);
    }
  }
  const sum = (key) =>
    results.reduce((total, tier) => total + (key === "skipped" ? tier.skipped.length : tier[key]), 0);
  const failed = sum("failed") + failedChecks.length;
  if (names.length === 0 && results.some((tier) => tier.passed + tier.failed === 0)) {
    console.log("A tier ran no test at all: that is a failure here.");
    console.log(`${sum("passed")} passed, ${failed + 1} failed, ${sum("skipped")} skipped`);
    return 1;
  }
  console.log(`${sum("passed")} passed, ${failed} failed, ${sum("skipped")} skipped`);
  return failed === 0 ? 0 : 1;
});
