import { describe, expect, it } from "@jest/globals";
import { isRunning, needsReset, type RunState, RunStateMachine } from "./run-state.js";

/** QEMU's transitions (system/runstate.c, runstate_transitions_def), and Baton's own after a `+`. */
const legal = `
prelaunch: running finish-migrate inmigrate suspended + paused internal-error
inmigrate: internal-error io-error paused running shutdown suspended watchdog guest-panicked finish-migrate prelaunch postmigrate colo
running: debug internal-error io-error paused finish-migrate restore-vm save-vm shutdown watchdog guest-panicked colo suspended
paused: running finish-migrate postmigrate prelaunch colo suspended + shutdown internal-error
suspended: running finish-migrate prelaunch colo paused save-vm restore-vm shutdown
finish-migrate: running paused postmigrate prelaunch colo internal-error io-error shutdown suspended watchdog guest-panicked
postmigrate: running finish-migrate prelaunch
save-vm: running suspended
restore-vm: running prelaunch suspended
shutdown: paused finish-migrate prelaunch colo + running
guest-panicked: running finish-migrate prelaunch paused
io-error: running finish-migrate prelaunch paused
watchdog: running finish-migrate prelaunch paused
debug: running finish-migrate prelaunch paused
internal-error: running finish-migrate prelaunch paused
colo: prelaunch running shutdown
`;
const table = new Map(
  legal
    .trim()
    .split("\n")
    .map((line) => {
      const [from, to] = line.split(": ") as [RunState, string];
      return [from, to.split(" ").filter((word) => word !== "+") as RunState[]] as const;
    }),
);
const states = [...table.keys()];
const pairs = states.flatMap((from) => states.map((to) => [from, to] as const));

describe("run states", () => {
  it.each(pairs.filter(([from, to]) => table.get(from)?.includes(to)))("%s may become %s", (from, to) => {
    const changes: RunState[][] = [];
    const machine = new RunStateMachine(from, (a, b) => changes.push([a, b]));
    expect(machine.allows(to)).toBe(true);
    machine.enter(to);
    expect(machine.state).toBe(to);
    expect(changes).toEqual([[from, to]]);
  });

  it("refuse every other change, naming both, and stay as they are", () => {
    for (const [from, to] of pairs) {
      if (from === to || table.get(from)?.includes(to)) continue;
      const machine = new RunStateMachine(from, () => expect(`${from} to ${to}`).toBe("refused"));
      expect(machine.allows(to)).toBe(false);
      expect(() => machine.enter(to)).toThrow(
        expect.objectContaining({
          code: "RUN_STATE_TRANSITION",
          message: `A VM that is '${from}' cannot become '${to}'`,
          details: { from, to },
        }),
      );
      expect(machine.state).toBe(from);
    }
  });

  it("take no notice of a change to themselves", () => {
    for (const state of states) {
      const machine = new RunStateMachine(state, () => expect(state).toBe("unchanged"));
      machine.enter(state);
      expect(machine.state).toBe(state);
    }
  });

  it("run the vCPUs in one of them, and need a reset in three", () => {
    expect(states.filter(isRunning)).toEqual(["running"]);
    expect(states.filter(needsReset).sort()).toEqual(["guest-panicked", "internal-error", "shutdown"]);
  });
});
