import { describe, expect, it } from "@jest/globals";
import type { ChardevOption } from "./options.js";
import { monAddress, parseMon, parseMonitor, parseQmp } from "./surface.js";

const invalid = (message: RegExp) =>
  expect.objectContaining({ code: "OPTION_INVALID", message: expect.stringMatching(message) });

describe("-qmp", () => {
  it.each([
    ["stdio", { kind: "stdio" }],
    ["unix:/a=b,,c,server,nowait", { kind: "unix", path: "/a=b,c", wait: false }],
    ["unix:/q,server=on,wait=off", { kind: "unix", path: "/q", wait: false }],
    ["unix:/q,server", { kind: "unix", path: "/q", wait: true }],
    ["tcp:localhost:4444,server,nowait", { kind: "tcp", host: "localhost", port: 4444, wait: false }],
    ["tcp:[::1]:0,server=yes,wait=no", { kind: "tcp", host: "::1", port: 0, wait: false }],
    ["tcp::7,server,wait", { kind: "tcp", host: "127.0.0.1", port: 7, wait: true }],
  ])("reads %s", (text, expected) => {
    expect(parseQmp("qmp", text)).toEqual(expected);
  });

  it.each([
    ["pipe:/x", /neither unix:PATH, tcp:HOST:PORT nor stdio/],
    ["unix:/q", /only servers are supported/],
    ["unix:,server", /needs a path or an address/],
    ["unix:/q,server,wait=maybe", /wait=maybe is neither on nor off/],
    ["tcp:host,server", /'host' is not HOST:PORT/],
    ["tcp:h:65536,server", /port=65536 is not a whole number from 0 to 65535/],
  ])("refuses %s", (text, message) => {
    expect(() => parseQmp("qmp", text)).toThrow(invalid(message));
  });
});

describe("-monitor", () => {
  it.each([
    ["none", null],
    ["stdio", { address: { kind: "stdio" } }],
    ["stdio,prompt=baton> ", { address: { kind: "stdio" }, prompt: "baton> " }],
    ["unix:/m,server,nowait", { address: { kind: "unix", path: "/m", wait: false } }],
    ["unix:/m,server,prompt=", { address: { kind: "unix", path: "/m", wait: true }, prompt: "" }],
  ])("reads %s", (text, expected) => {
    expect(parseMonitor("monitor", text)).toEqual(expected);
  });

  it.each([
    ["vc", /-monitor: 'vc' is neither/],
    ["stdio,server", /unknown sub-option 'server'/],
    ["unix:/m", /only servers are supported/],
  ])("refuses %s", (text, message) => {
    expect(() => parseMonitor("monitor", text)).toThrow(invalid(message));
  });
});

describe("-mon", () => {
  it.each([
    ["c0", { chardev: "c0", mode: "readline" }],
    ["chardev=c0,mode=readline,prompt=> ", { chardev: "c0", mode: "readline", prompt: "> " }],
    ["chardev=c0,id=m,mode=control,pretty=off", { chardev: "c0", mode: "control" }],
  ])("reads %s", (text, expected) => {
    expect(parseMon("mon", text)).toEqual(expected);
  });

  it.each([
    ["mode=readline", /needs chardev=/],
    ["chardev=c0,mode=graphic", /mode=graphic is neither readline nor control/],
    ["chardev=c0,mode=control,prompt=x", /prompt= is for mode=readline/],
    ["chardev=c0,colour=red", /unknown sub-option 'colour'/],
  ])("refuses %s", (text, message) => {
    expect(() => parseMon("mon", text)).toThrow(invalid(message));
  });

  it("finds its chardev, which has to be stdio or a listening socket", () => {
    const chardevs = new Map<string, ChardevOption>([
      ["term", { kind: "stdio" }],
      ["sock", { kind: "unix", path: "/m" }],
      ["file", { kind: "file", path: "/f" }],
    ]);
    const of = (chardev: string) => monAddress({ chardev, mode: "readline" }, chardevs);
    expect(of("term")).toEqual({ kind: "stdio" });
    expect(of("sock")).toEqual({ kind: "unix", path: "/m", wait: false });
    expect(() => of("file")).toThrow(invalid(/chardev 'file' is neither stdio nor a socket/));
    expect(() => of("none")).toThrow(invalid(/there is no chardev 'none'/));
  });
});
