/** A service that holds up its device thread: `call("stall", { flag, timeoutMs })` until the flag is set, or the time is up. */
export function stallService() {
  return {
    call(_method, { flag, timeoutMs }) {
      Atomics.wait(flag, 0, 0, timeoutMs);
    },
    close() {},
  };
}
