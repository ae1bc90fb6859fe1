import { TestClient } from "../../src/surface/qmp/testing/client.js";
import { baton, type Program, type Scratch } from "./baton.js";
import { until } from "./until.js";

/** A VM in a process of its own, with its serial port on standard output and a client of QMP. */
export class MigratingVm {
  readonly program: Program;
  readonly qmp: TestClient;

  private constructor(program: Program, qmp: TestClient) {
    this.program = program;
    this.qmp = qmp;
  }

  /** Starts `baton` and connects to it. */
  static async start(scratch: Scratch, name: string, args: readonly string[]): Promise<MigratingVm> {
    const socket = scratch.at(`${name}.qmp`);
    const program = baton([...args, "-serial", "stdio", "-qmp", `unix:${socket},server,nowait`]);
    const qmp = await until(async () => {
      if (program.end !== undefined) throw new Error(`${name} ended with ${program.end}: ${program.stderr}`);
      return TestClient.connect(socket).catch(() => undefined);
    }, `${name}'s QMP`);
    await qmp.next();
    await qmp.execute("qmp_capabilities");
    return new MigratingVm(program, qmp);
  }

  /** What the guest has written so far. */
  get output(): string {
    return this.program.stdout;
  }

  /** A command's result; throws what it was refused with. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever the server said
  async call(command: string, args?: object): Promise<any> {
    const answer = await this.qmp.execute(command, args);
    if (answer.error !== undefined) throw new Error(answer.error.desc);
    return answer.return;
  }

  /** The run state. */
  async runState(): Promise<string> {
    return (await this.call("query-status")).status;
  }

  /** Waits until its migration is at an end, and tells how it ended. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever the server said
  migrated(): Promise<any> {
    return until(async () => {
      const info = await this.call("query-migrate");
      return ["completed", "failed", "cancelled"].includes(info.status) && info;
    }, "the end of the migration");
  }

  /** Begins a migration, and waits for its end. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever the server said
  async migrate(uri: string): Promise<any> {
    await this.call("migrate", { uri });
    return this.migrated();
  }

  async quit(): Promise<void> {
    this.qmp.send({ execute: "quit" });
    await this.program.ended();
  }
}
