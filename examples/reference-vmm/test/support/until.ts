import { setTimeout as delay } from "node:timers/promises";

/** Polls until `condition` gives something other than false, null and undefined, and returns it; fails naming `what`. */
export async function until<T>(
  condition: () => T | false | null | undefined | Promise<T | false | null | undefined>,
  what: string,
  timeoutMs = 15_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const result = await condition();
    if (result !== false && result !== null && result !== undefined) return result;
    if (performance.now() > deadline) throw new Error(`${what} did not come within ${timeoutMs} ms`);
    await delay(10);
  }
}
