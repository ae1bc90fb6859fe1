import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { guestPath } from "@baton/guests";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { baton, killPrograms, Scratch } from "./support/baton.js";

const scratch = new Scratch();
afterEach(killPrograms);
afterAll(() => scratch.remove());

const kernel = ["-kernel", guestPath("hello")];
const ram = (options: string, machine = "-machine memory-backend=ram0") => [
  ...["-object", options, ...machine.split(" ")],
];

/** Runs with the options, which must be refused with one line on standard error, and leaves nothing behind. */
async function refused(options: readonly string[]): Promise<string> {
  const pidfile = scratch.at("refused.pid");
  const qmp = scratch.at("refused.sock");
  const run = baton([...options, "-pidfile", pidfile, "-qmp", `unix:${qmp},server,nowait`]);
  expect(await run.ended()).toBe(1);
  expect(run.stdout).toBe("");
  expect([pidfile, qmp].filter(existsSync)).toEqual([]);
  const [line, ...rest] = run.stderr.split("\n");
  expect(rest).toEqual([""]);
  return line as string;
}

const wrongOptions: readonly (readonly [what: string, options: readonly string[], message: RegExp])[] = [
  ["an unknown option", ["-frobnicate"], /^baton: error: -frobnicate: unknown option; baton -help lists them$/],
  ["a word that is no option", ["vmlinuz"], /'vmlinuz' is not an option/],
  ["an option without its value", ["-kernel"], /-kernel: needs a value: FILE/],
  ["an option in the place of a value", ["-kernel", "-S"], /-kernel: needs a value/],
  ["an option given twice", ["-m", "1G", "--m", "2G"], /-m: given twice/],
  ["a size that is none", [...kernel, "-m", "lots"], /-m: size=lots is not a size; Write a number/],
  ["a size of broken MiB", [...kernel, "-m", "1500K"], /-m: 1536000 bytes are not whole MiB/],
  ["an unknown machine", [...kernel, "-machine", "pc"], /-machine: machine 'pc' is not supported; Supported.*microvm/],
  ["an unknown sub-option", [...kernel, "-machine", "microvm,colour=red"], /-machine: unknown sub-option 'colour'/],
  ["more vCPUs than places", [...kernel, "-smp", "4,maxcpus=2"], /-smp: maxcpus \(2\) is below cpus \(4\)/],
  ["an unknown CPU", [...kernel, "-cpu", "z80"], /-cpu: CPU model 'z80' is not supported/],
  ["an unknown accelerator", [...kernel, "-accel", "tcg"], /-accel: 'tcg' is not supported/],
  ["a chardev that does not exist", [...kernel, "-serial", "chardev:no"], /-serial: there is no chardev 'no'/],
  ["two chardevs of one id", ["-chardev", "null,id=a", "-chardev", "pty,id=a"], /-chardev: the id 'a' is taken/],
  ["a client socket", [...kernel, "-serial", "unix:/tmp/x"], /-serial: only servers are supported/],
  ["QMP nowhere", [...kernel, "-qmp", "udp:1"], /-qmp: 'udp:1' is neither unix:PATH, tcp:HOST:PORT nor stdio/],
  ["stdio used twice", [...kernel, "-serial", "stdio", "-qmp", "stdio"], /-qmp: standard input and output are taken/],
  ["a daemon on stdio", [...kernel, "-daemonize", "-serial", "stdio"], /-daemonize: cannot be used.* on stdio/],
  ["no kernel", ["-m", "64"], /-kernel: needed/],
  [
    "a log that cannot be written",
    [...kernel, "-D", "/nowhere/log"],
    /-D: cannot write the log \/nowhere\/log: ENOENT/,
  ],
  [
    "an object of a size other than -m",
    [...kernel, "-m", "64", ...ram("memory-backend-ram,id=ram0,size=128M")],
    /'ram0' has 128 MiB, but the guest has 64 MiB \(-m\); Make both the same size/,
  ],
  [
    "an only object of a size other than -m",
    [...kernel, "-m", "64", "-object", "memory-backend-memfd,id=only,size=65M"],
    /'only' has 65 MiB, but the guest has 64 MiB/,
  ],
  [
    "several objects, none of them chosen",
    [...kernel, "-object", "memory-backend-ram,id=a,size=1M", "-object", "memory-backend-ram,id=b,size=1M"],
    /-object: several memory backends: a, b; Say which/,
  ],
  [
    "two backings at once",
    [...kernel, "-mem-path", "/tmp", ...ram("memory-backend-ram,id=ram0,size=256M")],
    /-mem-path: guest memory is backed by object 'ram0' already/,
  ],
  ["a backend that is not there", [...kernel, "-machine", "memory-backend=ram7"], /there is no object 'ram7'/],
  ["an object without an id", ["-object", "memory-backend-ram,size=1M"], /memory-backend-ram needs id=/],
  ["an object without a size", ["-object", "memory-backend-ram,id=r"], /memory-backend-ram 'r' needs size=/],
  ["a file object without a path", ["-object", "memory-backend-file,id=r,size=1M"], /'r' needs mem-path=/],
  ["an object of an unknown kind", ["-object", "secret,id=r"], /object 'secret' is not supported/],
  ["two objects of one id", [...twice("memory-backend-ram,id=r,size=1M")], /-object: the id 'r' is taken/],
];

function twice(object: string): readonly string[] {
  return ["-object", object, "-object", object];
}

describe("options that baton refuses", () => {
  it.each(wrongOptions)("%s", async (_, options, message) => {
    expect(await refused(options)).toMatch(message);
  });
});

describeKvm("VMs that baton cannot make", () => {
  let server: Server;
  const living = scratch.at("living.sock");
  beforeAll(async () => {
    server = createServer();
    await new Promise<void>((resolve) => server.listen(living, resolve));
  });
  afterAll(() => {
    server.close();
  });

  const file = (name: string, bytes: number) => scratch.write(name, new Uint8Array(bytes));
  const backend = (path: string, more = "") => [
    ...[...kernel, "-m", "32"],
    ...ram(`memory-backend-file,id=ram0,size=32M,mem-path=${path},share=on${more}`),
  ];
  const cases: readonly (readonly [what: string, options: () => readonly string[], message: RegExp])[] = [
    ["a memory file that is too short", () => backend(file("short", 4096)), /ram0.*(short|4096)/],
    ["a bad alignment", () => backend(scratch.at("new"), ",align=3M"), /ram0.*align/i],
    ["a memory file in no directory", () => backend("/nowhere/at/all"), /ram0.*\/nowhere\/at\/all/],
    ["no memory", () => [...kernel, "-m", "0"], /0 MiB/],
    ["absurd memory", () => [...kernel, "-m", "4096T"], /cannot have 4294967296 MiB/],
    ["a kernel that is missing", () => ["-kernel", "/nowhere"], /Cannot read kernel \/nowhere: ENOENT/],
    ["a kernel that is a directory", () => ["-kernel", "/tmp"], /Cannot read kernel \/tmp: EISDIR/],
    ["an unknown CPU feature", () => [...kernel, "-cpu", "host,+flux"], /CPU feature 'flux'/],
    ["a living socket", () => [...kernel, "-serial", `unix:${living},server,nowait`], /living\.sock: another process/],
    ["a living QMP socket", () => [...kernel, "-qmp", `unix:${living},server,nowait`], /living\.sock: another process/],
    [
      "a file in the place of a socket",
      () => [...kernel, "-serial", `unix:${file("precious", 10)},server,nowait`],
      /precious: there is a file that is no socket/,
    ],
    ["a console file in no directory", () => [...kernel, "-serial", "file:/nowhere/x"], /file \/nowhere\/x/],
    ...(existsSync("/dev/vhost-vsock")
      ? []
      : [
          [
            "vhost-vsock without its module",
            () => [...kernel, "-device", "vhost-vsock-device,guest-cid=3,id=kernel"],
            /kernel: vhost-vsock cannot be used: .*\/dev\/vhost-vsock.*; Load the module vhost_vsock/,
          ] as const,
        ]),
  ];

  it.each(cases)("%s", async (_, options, message) => {
    expect(await refused(options())).toMatch(message);
  });

  it("leaves alone what was in its way", () => {
    expect(readFileSync(scratch.at("precious")).length).toBe(10);
    expect(existsSync(living)).toBe(true);
  });

  it("refuses the pid file of another process, and leaves it alone", async () => {
    const pidfile = scratch.write("other.pid", `${process.pid}\n`);
    const run = baton([...kernel, "-pidfile", pidfile]);
    expect(await run.ended()).toBe(1);
    expect(run.stderr).toMatch(/^baton: error: The pid file .*other\.pid belongs to process \d+, which is running\n$/);
    expect(readFileSync(pidfile, "utf8")).toBe(`${process.pid}\n`);
  });
});
