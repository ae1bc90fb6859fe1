import { describe, expect, it } from "@jest/globals";
import { applyObject } from "./object.js";
import { emptyOptions } from "./options.js";
import { parseChardev, parseSmp } from "./values.js";

const invalid = (message: RegExp) =>
  expect.objectContaining({ code: "OPTION_INVALID", message: expect.stringMatching(message) });

describe("-smp", () => {
  const shape = (text: string) => {
    const { cpus, maxcpus, sockets, dies, cores, threads } = parseSmp("smp", text);
    return [cpus, maxcpus, sockets, dies, cores, threads];
  };

  it.each([
    ["1", [1, 1, 1, 1, 1, 1]],
    ["4", [4, 4, 4, 1, 1, 1]],
    ["cpus=2,maxcpus=4", [2, 4, 4, 1, 1, 1]],
    ["4,cores=2", [4, 4, 2, 1, 2, 1]],
    ["8,cores=2,threads=2", [8, 8, 2, 1, 2, 2]],
    ["4,sockets=1", [4, 4, 1, 1, 4, 1]],
    ["8,sockets=2,threads=2", [8, 8, 2, 1, 2, 2]],
    ["8,sockets=2,cores=2", [8, 8, 2, 1, 2, 2]],
    ["2,sockets=4", [2, 4, 4, 1, 1, 1]],
    ["sockets=2,dies=2,cores=2,threads=2", [16, 16, 2, 2, 2, 2]],
    ["maxcpus=6", [6, 6, 6, 1, 1, 1]],
    ["2,maxcpus=8,sockets=1,clusters=2,cores=2,threads=2", [2, 8, 1, 1, 4, 2]],
    ["254", [254, 254, 254, 1, 1, 1]],
  ])("%s", (text, expected) => {
    expect(shape(text)).toEqual(expected);
  });

  it.each([
    ["0", /cpus=0 is not a whole number from 1 to 254/],
    ["255", /cpus=255/],
    ["two", /cpus=two/],
    ["4,maxcpus=2", /maxcpus \(2\) is below cpus \(4\)/],
    ["3,cores=2", /sockets \(1\) \* dies \(1\) \* cores \(2\) \* threads \(1\) is not maxcpus \(3\)/],
    ["4,sockets=3,cores=2,threads=2,maxcpus=4", /is not maxcpus \(4\)/],
    ["4,hats=1", /unknown sub-option 'hats'/],
    ["sockets=254,cores=254", /maxcpus|whole number/],
  ])("refuses %s", (text, message) => {
    expect(() => parseSmp("smp", text)).toThrow(invalid(message));
  });
});

describe("-object", () => {
  /** The memory backend that an option makes. */
  const parseObject = (option: string, text: string) => {
    const options = emptyOptions();
    applyObject(options, text, option);
    return [...options.objects.values()][0];
  };

  it("reads iothreads and sources of entropy", () => {
    const options = emptyOptions();
    applyObject(options, "iothread,id=io1", "object");
    applyObject(options, "iothread,id=io2,poll-max-ns=0,poll-grow=3", "object");
    applyObject(options, "rng-random,id=r,filename=/dev/random", "object");
    expect(options.iothreads).toEqual([
      { id: "io1", polling: { maxNs: 32768, grow: 0, shrink: 0 } },
      { id: "io2", polling: { maxNs: 0, grow: 3, shrink: 0 } },
    ]);
    expect(options.rngs).toEqual(new Map([["r", { path: "/dev/random" }]]));
    expect(() => applyObject(options, "iothread,id=r", "object")).toThrow(invalid(/the id 'r' is taken/));
    expect(() => applyObject(options, "rng-random,id=s", "object")).toThrow(invalid(/'s' needs filename=/));
  });

  it("reads the three kinds of memory", () => {
    expect(parseObject("object", "memory-backend-ram,id=a,size=1G,prealloc=on")).toEqual({
      ...{ id: "a", kind: "ram", size: 1n << 30n, prealloc: true },
    });
    expect(
      parseObject("object", "memory-backend-file,id=b,size=2M,mem-path=/dev/shm/x,share=yes,align=2M,dump=off"),
    ).toEqual({
      ...{ id: "b", kind: "file", size: 2n << 20n, prealloc: false, path: "/dev/shm/x" },
      ...{ align: 2 << 20, share: true, dump: false },
    });
    expect(parseObject("object", "qom-type=memory-backend-memfd,id=c,size=4K,hugetlb=on")).toEqual({
      ...{ id: "c", kind: "memfd", size: 4096n, prealloc: false, hugePages: "2M" },
    });
  });

  it.each([
    ["memory-backend-memfd,id=a,size=1G,hugetlb=on,hugetlbsize=4M", /hugetlbsize=4M is neither 2M nor 1G/],
    ["memory-backend-ram,id=a,size=1G,mem-path=/x", /unknown sub-option 'mem-path'/],
    ["memory-backend-ram,id=a,size=1G,share=constructor", /share=constructor is neither on nor off/],
    ["memory-backend-ram,size=1G", /needs id=/],
    [`memory-backend-ram,id=${"x".repeat(256)},size=1G`, /at most 255/],
    ["memory-backend-ram,id=a", /'a' needs size=/],
    ["memory-backend-ram,id=a,size=big", /size=big is not a size/],
    ["memory-backend-file,id=a,size=1G", /'a' needs mem-path=/],
    ["", /needs a type/],
  ])("refuses %s", (text, message) => {
    expect(() => parseObject("object", text)).toThrow(invalid(message));
  });
});

describe("-serial and -chardev", () => {
  it.each([
    ["stdio", undefined, { kind: "stdio" }],
    ["pty", undefined, { kind: "pty" }],
    ["null,id=n", "n", { kind: "null" }],
    ["file:/tmp/a=b,,c", undefined, { kind: "file", path: "/tmp/a=b,c", append: false }],
    ["file,id=f,path=/x,append=on", "f", { kind: "file", path: "/x", append: true }],
    ["unix:/run/s,server,nowait", undefined, { kind: "unix", path: "/run/s" }],
    ["socket,id=s,path=/run/s,server=on,wait=off", "s", { kind: "unix", path: "/run/s" }],
    ["backend=socket,id=s,path=/run/s,server=yes", "s", { kind: "unix", path: "/run/s" }],
    ["unix:/run/s,server=off", undefined, { kind: "unix-client", path: "/run/s" }],
    ["socket,id=s,path=/run/s", "s", { kind: "unix-client", path: "/run/s" }],
    ["socket,id=s,path=/run/s,server=off", "s", { kind: "unix-client", path: "/run/s" }],
  ])("reads %s", (text, id, backend) => {
    expect(parseChardev("chardev", text)).toEqual({ id, backend });
  });

  it.each([
    ["", /back end '' is not supported/],
    ["tcp:1.2.3.4:5", /back end 'tcp:1.2.3.4:5' is not supported/],
    ["file:", /file needs a path/],
    ["file,id=f", /file needs a path/],
    ["file:/x,append=maybe", /append=maybe is neither on nor off/],
    ["unix:/x", /only servers are supported; Add ,server=on,wait=off/],
    ["unix:/x,server=perhaps", /server=perhaps is neither on nor off/],
    ["unix:,server", /unix needs a path/],
    ["pty,colour=red", /unknown sub-option 'colour'/],
  ])("refuses %j", (text, message) => {
    expect(() => parseChardev("chardev", text)).toThrow(invalid(message));
  });
});
