import { existsSync, openSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { listen, O_NOCTTY, O_RDWR, open, setNonblocking, tryRead, tryWrite } from "@baton/linux";
import { afterAll, afterEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { baton, helloGuest, killPrograms, Scratch, tickerGuest } from "./support/baton.js";
import { ECHO, pvhProgram } from "./support/machine-code.js";
import { until } from "./support/until.js";

const scratch = new Scratch();
afterEach(killPrograms);
afterAll(() => scratch.remove());

const echoGuest = ["-m", "16", "-kernel", scratch.write("echo", pvhProgram(ECHO))];

/** Everything that a byte can be, twice over what the guest's FIFO and both rings hold. */
const stream = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));

class Client {
  readonly socket: Socket;
  text = "";
  closed = false;

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.setEncoding("latin1").on("data", (text: string) => (this.text += text));
    this.socket.on("error", () => {});
    this.socket.on("close", () => (this.closed = true));
  }
}

describeKvm("-serial unix:PATH", () => {
  it("carries bytes both ways for one client after another", async () => {
    const path = scratch.at("both.sock");
    const run = baton([...echoGuest, "-serial", `unix:${path},server,nowait`]);
    await until(() => existsSync(path), "the socket");
    for (const word of ["first", "second", "third"]) {
      const client = new Client(path);
      client.socket.write(word);
      await until(() => client.text.endsWith(word), `the echo of '${word}'`);
      client.socket.end();
      await until(() => client.closed, "the end of the connection");
    }
    expect(await run.endedBy("SIGTERM")).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  it("turns away a second client while the first is there", async () => {
    const path = scratch.at("busy.sock");
    const run = baton([...echoGuest, "-serial", `unix:${path},server=on,wait=off`]);
    await until(() => existsSync(path), "the socket");
    const first = new Client(path);
    first.socket.write("a");
    await until(() => first.text.endsWith("a"), "the first echo");
    const second = new Client(path);
    await until(() => second.closed, "the end of the second connection");
    first.socket.write("b");
    await until(() => first.text.endsWith("ab"), "the second echo");
    first.socket.destroy();
    expect(await run.endedBy("SIGTERM")).toBe(0);
  });

  it("does not keep the guest waiting without a client", async () => {
    const path = scratch.at("nobody.sock");
    expect(await baton([...helloGuest, "-serial", `unix:${path},server,nowait`]).ended()).toBe(33);
  });

  it("is private to its owner, and replaces a socket that a dead process left", async () => {
    const path = scratch.at("stale.sock");
    listen({ kind: "unix", path }).close();
    expect(existsSync(path)).toBe(true);
    const run = baton([...echoGuest, "-serial", `unix:${path},server,nowait`]);
    const client = await until(async () => {
      const attempt = new Client(path);
      attempt.socket.write("x");
      await until(() => attempt.closed || attempt.text.endsWith("x"), "an answer");
      return attempt.text.endsWith("x") && attempt;
    }, "the echo");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    client.socket.destroy();
    expect(await run.endedBy("SIGTERM")).toBe(0);
  });

  it("leaves alone a file that took its place", async () => {
    const path = scratch.at("moved.sock");
    const run = baton([...tickerGuest, "-serial", `unix:${path},server,nowait`]);
    await until(() => existsSync(path), "the socket");
    const client = new Client(path);
    await until(() => client.text.length > 0, "the guest's output");
    renameSync(path, `${path}.away`);
    writeFileSync(path, "mine");
    expect(await run.endedBy("SIGTERM")).toBe(0);
    expect(readFileSync(path, "utf8")).toBe("mine");
  });
});

describeKvm("-serial file:PATH", () => {
  it("writes the guest's output to the file, replacing or appending", async () => {
    const path = scratch.write("out", "before\n");
    const run = baton([...helloGuest, "-serial", `file:${path}`]);
    expect(await run.ended()).toBe(33);
    const text = readFileSync(path, "utf8");
    expect(text).toMatch(/^\s+Hello[\s\S]*Goodbye\.\n$/);
    expect(run.stdout).toBe("");
    await baton([...helloGuest, "-chardev", `file,id=c,path=${path},append=on`, "-serial", "chardev:c"]).ended();
    expect(readFileSync(path, "utf8")).toBe(text + text);
  });
});

describeKvm("-serial stdio", () => {
  it("carries a long stream into the guest and back without a byte lost", async () => {
    const run = baton([...echoGuest, "-serial", "stdio"]);
    await run.sees(/^>/);
    run.child.stdin?.end(stream);
    await until(() => run.stdout.length >= stream.length + 1, "the whole stream", 50_000);
    expect(Buffer.from(run.stdout.slice(1), "latin1").equals(stream)).toBe(true);
    expect(await run.endedBy("SIGTERM")).toBe(0);
  });

  it("reads standard input from a file", async () => {
    const stdin = openSync(scratch.write("input", stream.subarray(0, 20_000)), "r");
    const run = baton([...echoGuest, "-serial", "stdio"], { stdio: [stdin, "pipe", "pipe"] });
    await until(() => run.stdout.length >= 20_001, "the whole file");
    expect(Buffer.from(run.stdout.slice(1), "latin1").equals(stream.subarray(0, 20_000))).toBe(true);
    expect(await run.endedBy("SIGTERM")).toBe(0);
  });

  it("goes on without standard input, and without a reader of its output", async () => {
    const run = baton([...tickerGuest, "-serial", "stdio"]);
    run.child.stdin?.destroy();
    await run.sees(/\.\.\./);
    run.child.stdout?.destroy();
    expect(await baton([...helloGuest, "-serial", "stdio"], { stdio: ["ignore", "pipe", "pipe"] }).ended()).toBe(33);
    expect(run.end).toBeUndefined();
    expect(await run.endedBy("SIGTERM")).toBe(0);
  });
});

describeKvm("-serial pty", () => {
  const open_ = (path: string) => {
    const fd = open(path, O_RDWR | O_NOCTTY);
    setNonblocking(fd, true);
    return fd;
  };
  const buffer = new Uint8Array(4096);
  const readAll = (fd: number) => {
    const count = tryRead(fd, buffer);
    return count > 0 ? Buffer.from(buffer.subarray(0, count)).toString("latin1") : "";
  };

  it("names its terminal and carries bytes both ways, again for the next who opens it", async () => {
    const run = baton([...echoGuest, "-serial", "pty"]);
    const [, path] = await run.sees(/serial port on (\/dev\/pts\/\d+)\n/, "stderr");
    for (const word of ["one\r", "two\n", "\u0003\u0004\u0011"]) {
      using terminal = open_(path as string);
      let seen = "";
      // Who has just opened it is noticed within a moment; the port sends and takes nothing before.
      await until(
        () => {
          if (!seen.includes(word)) tryWrite(terminal.raw, Buffer.from(seen === "" ? word : ""));
          seen += readAll(terminal.raw);
          return seen.includes(word);
        },
        `the echo of ${JSON.stringify(word)}`,
      );
    }
    expect(await run.endedBy("SIGTERM")).toBe(0);
  });

  it("does not keep the guest waiting while nobody has it open", async () => {
    expect(await baton([...helloGuest, "-serial", "pty"]).ended()).toBe(33);
  });
});
