import { BatonError } from "@baton/linux";

/** How long something may take, and who may call it off. */
export interface DeadlineOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Whose time is up, for the message: "X did not answer within …". */
  readonly what: string;
  /** Called where `work` comes to its end, one way or the other, after it was given up. */
  readonly onLate: (succeeded: boolean) => void | Promise<void>;
}

/** Resolves as `work` does, in time. Fails with `TIMEOUT` or the signal's reason; `work` itself goes on then. */
export async function withDeadline<T>(work: Promise<T>, options: DeadlineOptions): Promise<T> {
  const { timeoutMs, signal, what, onLate } = options;
  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const given = new Promise<never>((_, reject) => {
    const error = () => new BatonError("TIMEOUT", `${what} did not answer within ${timeoutMs} ms`);
    timer = setTimeout(() => reject(error()), timeoutMs);
    onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
  let settled = false;
  const ended = work.finally(() => {
    settled = true;
  });
  try {
    return await Promise.race([ended, given]);
  } catch (error) {
    if (!settled) {
      ended.then(
        () => onLate(true),
        () => onLate(false),
      );
    }
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
