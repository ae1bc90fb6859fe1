import type { BusHandler, HandlerContext } from "@baton/core-kvm";

const COMMAND_RESET = 0xfe;
const COMMAND_SELF_TEST = 0xaa;
const COMMAND_TEST_KEYBOARD = 0xab;
const COMMAND_TEST_MOUSE = 0xa9;
const COMMAND_READ_CONFIG = 0x20;
const COMMAND_WRITE_OUTPUT = 0xd1;
const STATUS_OUTPUT_FULL = 1;
const STATUS_SYSTEM = 4;

/**
 * A keyboard controller without a keyboard: it answers its self tests, so that no driver waits for it, and resets the
 * machine. Ranges: offset 0 is port 0x60, offset 4 is port 0x64. Words of shared memory: 0 the answer, 1 whether there is
 * one, 2 the command that wants a parameter.
 */
export function i8042(context: HandlerContext): BusHandler {
  const words = new Int32Array(context.shared);
  const answer = (byte: number) => {
    words[0] = byte;
    words[1] = 1;
  };
  const reset = () => context.emit({ device: "i8042", name: "reset" }, { pause: true });
  const answers: Readonly<Record<number, number>> = {
    [COMMAND_SELF_TEST]: 0x55,
    [COMMAND_TEST_KEYBOARD]: 0x01,
    [COMMAND_TEST_MOUSE]: 0x01,
    [COMMAND_READ_CONFIG]: 0x30,
  };
  return {
    read(offset) {
      if (offset === 4) return STATUS_SYSTEM | (words[1] === 1 ? STATUS_OUTPUT_FULL : 0);
      words[1] = 0;
      return words[0] as number;
    },
    write(offset, _size, value) {
      if (offset === 4) {
        words[2] = value;
        const byte = answers[value];
        if (byte !== undefined) answer(byte);
        if (value === COMMAND_RESET) reset();
        return;
      }
      const command = words[2];
      words[2] = 0;
      if (command === COMMAND_WRITE_OUTPUT && (value & 1) === 0) reset();
    },
  };
}
