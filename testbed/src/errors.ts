/** What can go wrong before or around a run; the outcome of a run itself is never thrown. */
export type TestbedErrorCode =
  | "PACKAGES_MISSING"
  | "COMMAND_FAILED"
  | "KERNEL_UNUSABLE"
  | "MODULE_MISSING"
  | "FILE_MISSING"
  | "QEMU_MISSING"
  | "ARCHIVE_INVALID";

/** An error of the testbed, recognised by its `code`; the message says what failed, on what, and what to do. */
export class TestbedError extends Error {
  override readonly name = "TestbedError";
  readonly code: TestbedErrorCode;

  constructor(code: TestbedErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
