import { BatonError } from "@baton/linux";

/** The run states of a VM, by QEMU's names (QAPI `RunState`); `docs/lifecycle.md` has the diagram. */
export type RunState =
  | "prelaunch"
  | "inmigrate"
  | "running"
  | "paused"
  | "suspended"
  | "finish-migrate"
  | "postmigrate"
  | "save-vm"
  | "restore-vm"
  | "shutdown"
  | "guest-panicked"
  | "io-error"
  | "watchdog"
  | "debug"
  | "internal-error"
  | "colo";

const faulted: readonly RunState[] = ["running", "paused", "prelaunch", "finish-migrate"];

/** From each state, the states that may follow. */
const transitions: Readonly<Record<RunState, readonly RunState[]>> = {
  prelaunch: ["running", "finish-migrate", "inmigrate", "suspended", "paused", "internal-error"],
  inmigrate: [
    "running",
    "paused",
    "prelaunch",
    "postmigrate",
    "finish-migrate",
    "internal-error",
    "io-error",
    "shutdown",
    "suspended",
    "watchdog",
    "guest-panicked",
    "colo",
  ],
  running: [
    "paused",
    "debug",
    "internal-error",
    "io-error",
    "finish-migrate",
    "restore-vm",
    "save-vm",
    "shutdown",
    "watchdog",
    "guest-panicked",
    "colo",
    "suspended",
  ],
  paused: ["running", "finish-migrate", "postmigrate", "prelaunch", "colo", "suspended", "shutdown", "internal-error"],
  suspended: ["running", "finish-migrate", "prelaunch", "colo", "paused", "save-vm", "restore-vm", "shutdown"],
  "finish-migrate": [
    "running",
    "paused",
    "postmigrate",
    "prelaunch",
    "colo",
    "internal-error",
    "io-error",
    "shutdown",
    "suspended",
    "watchdog",
    "guest-panicked",
  ],
  postmigrate: ["running", "finish-migrate", "prelaunch"],
  "save-vm": ["running", "suspended"],
  "restore-vm": ["running", "prelaunch", "suspended"],
  shutdown: ["paused", "finish-migrate", "prelaunch", "colo", "running"],
  "guest-panicked": faulted,
  "io-error": faulted,
  watchdog: faulted,
  debug: faulted,
  "internal-error": faulted,
  colo: ["prelaunch", "running", "shutdown"],
};

/** Whether a text is the name of a run state. */
export function isRunState(name: string): name is RunState {
  return Object.hasOwn(transitions, name);
}

/** Whether vCPUs may run in the state. */
export function isRunning(state: RunState): boolean {
  return state === "running";
}

/** States out of which only a reset leads back to running (QEMU's `runstate_needs_reset`). */
export function needsReset(state: RunState): boolean {
  return state === "internal-error" || state === "shutdown" || state === "guest-panicked";
}

const pluggable: readonly RunState[] = ["prelaunch", "running", "paused", "suspended", "io-error", "guest-panicked"];

/** States in which devices may come and go: the guest runs, or may run on as it is. */
export function isPluggable(state: RunState): boolean {
  return pluggable.includes(state);
}

/** The one place where a VM's run state changes. */
export class RunStateMachine {
  #state: RunState;
  readonly #onChange: (from: RunState, to: RunState) => void;

  constructor(initial: RunState, onChange: (from: RunState, to: RunState) => void = () => {}) {
    this.#state = initial;
    this.#onChange = onChange;
  }

  get state(): RunState {
    return this.#state;
  }

  /** Whether {@link enter} would be allowed. */
  allows(next: RunState): boolean {
    return next === this.#state || transitions[this.#state].includes(next);
  }

  /** Changes the state; fails with `RUN_STATE_TRANSITION`, naming both, where that is not allowed. */
  enter(next: RunState): void {
    if (next === this.#state) return;
    if (!this.allows(next)) {
      throw new BatonError("RUN_STATE_TRANSITION", `A VM that is '${this.#state}' cannot become '${next}'`, {
        details: { from: this.#state, to: next },
      });
    }
    const from = this.#state;
    this.#state = next;
    this.#onChange(from, next);
  }
}
