/** Why something of the kernel's cannot be had here, for a test's name; "" if it can. `open` throws a named error if not. */
export function absence(open: () => { close(): void }): string {
  try {
    open().close();
    return "";
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return ` (skipped: ${error.message})`;
  }
}
