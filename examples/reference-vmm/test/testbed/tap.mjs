/** A test runner for scripts inside the testbed: each test prints its verdict as TAP, the plan comes last. */
let count = 0;
const began = performance.now();

/** Runs one test; a rejection fails it with its message as diagnostics. */
export async function test(name, work) {
  count++;
  try {
    await work();
    console.log(`ok ${count} - ${name}`);
  } catch (error) {
    console.log(`not ok ${count} - ${name}`);
    for (const line of String(error?.stack ?? error).split("\n")) console.log(`# ${line}`);
  }
}

/** Prints a note: how long the script has run, and what has come of it. */
export function tell(what) {
  console.log(`# ${((performance.now() - began) / 1000).toFixed(0)} s: ${what}`);
}

/** Ends the stream. */
export function done() {
  console.log(`1..${count}`);
  process.exit(0);
}
