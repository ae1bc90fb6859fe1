/** Bus handlers for tests, loaded by vCPU and device threads. */

/** Answers reads with 0x5a and counts accesses in its shared memory. */
export function counting(context) {
  const words = new Int32Array(context.shared);
  return {
    read: () => {
      Atomics.add(words, 0, 1);
      return 0x5a;
    },
    write: () => Atomics.add(words, 0, 1),
  };
}

/** Fails at its first access. */
export function throwing() {
  const fail = () => {
    throw new Error("this handler is broken");
  };
  return { read: fail, write: fail };
}
