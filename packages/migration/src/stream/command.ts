/** What one side tells the other between sections: its number, its name and the bytes of its payload, null where they vary. */
export interface StreamCommand {
  readonly code: number;
  readonly name: string;
  readonly length: number | null;
}

/** All commands. QEMU: migration/savevm.c `mig_cmd_args`. */
export const STREAM_COMMANDS: readonly StreamCommand[] = [
  { code: 1, name: "OPEN_RETURN_PATH", length: 0 },
  { code: 2, name: "PING", length: 4 },
  { code: 3, name: "POSTCOPY_ADVISE", length: null },
  { code: 4, name: "POSTCOPY_LISTEN", length: 0 },
  { code: 5, name: "POSTCOPY_RUN", length: 0 },
  { code: 6, name: "POSTCOPY_RAM_DISCARD", length: null },
  { code: 7, name: "PACKAGED", length: 4 },
  { code: 8, name: "ENABLE_COLO", length: null },
  { code: 9, name: "POSTCOPY_RESUME", length: 0 },
  { code: 10, name: "RECV_BITMAP", length: null },
  { code: 11, name: "SWITCHOVER_START", length: 0 },
];

/** The command that says that the source has stopped. */
export const SWITCHOVER_START = 11;
