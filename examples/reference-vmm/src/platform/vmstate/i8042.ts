import { bool, type StateOf, u8, vmstate } from "@baton/migration/vmstate";

/** Baton's section `baton/i8042`: the keyboard controller that only resets, which QEMU does not have. */
export const i8042Vmstate = vmstate({
  name: "baton/i8042",
  version: 1,
  fields: { answer: u8, hasAnswer: bool, command: u8 },
});

/** The keyboard controller as a section. */
export type I8042Section = StateOf<typeof i8042Vmstate>;

/** The device's words of shared memory as a section. */
export function saveI8042([answer = 0, full = 0, command = 0]: readonly number[]): I8042Section {
  return { answer, hasAnswer: full === 1, command };
}

/** The words that the section is of. */
export function joinI8042({ answer, hasAnswer, command }: I8042Section): number[] {
  return [answer, hasAnswer ? 1 : 0, command];
}
