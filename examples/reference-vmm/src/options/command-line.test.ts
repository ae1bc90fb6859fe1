import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { helpText, parseCommandLine } from "./command-line.js";
import { optionTable } from "./table.js";
import { vmConfig } from "./vm-config.js";

const parse = (...args: string[]) => {
  const line = parseCommandLine(args);
  if (line.kind !== "run") throw new Error(`it asks for ${line.kind}`);
  return line.options;
};
const config = (...args: string[]) => vmConfig(parse("-kernel", "k", ...args));
const invalid = (message: RegExp, code = "OPTION_INVALID") =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("the command line", () => {
  it("takes one dash or two", () => {
    expect(parse("--kernel", "a", "-m", "64", "--S")).toEqual(parse("-kernel", "a", "--m", "64", "-S"));
  });

  it("merges repeated machines, joins repeated words, and lets values begin with a dash where they may", () => {
    const options = parse(
      ...["-machine", "microvm", "-machine", "memory-backend=ram0", "-M", "aux-ram-share=on,dump-guest-core=off"],
      ...["-append", "console=ttyS0", "-append", "-v"],
    );
    expect(options.machine).toMatchObject({ type: "microvm", memoryBackend: "ram0", auxRamShare: true });
    expect(options.machine.dumpGuestCore).toBe(false);
    expect(options.append).toEqual(["console=ttyS0", "-v"]);
  });

  it("ends at help and version", () => {
    for (const arg of ["-h", "-help", "--help"]) expect(parseCommandLine(["-S", arg, "-nonsense"]).kind).toBe("help");
    for (const arg of ["-V", "--version"]) expect(parseCommandLine([arg]).kind).toBe("version");
  });

  it("ignores what QEMU's and StratoVirt's scripts say beside", () => {
    const ignored = [
      "-nodefaults",
      "-nographic",
      "-display",
      "none",
      "-uuid",
      "1-2",
      "-rtc",
      "base=utc",
      "-enable-kvm",
    ];
    expect(parse(...ignored, "-accel", "kvm", "-cpu", "host")).toEqual(parse());
  });

  it.each([
    [["-constructor"], /-constructor: unknown option/],
    [["--toString"], /-toString: unknown option/],
    [["-"], /'-' is not an option/],
    [["--"], /'--' is not an option/],
    [["--kernel=x"], /'--kernel=x' is not an option/],
    [["-action", "panic=toString"], /panic=toString is none of pause/],
    [["-S", "-S"], /-S: given twice/],
    [["-D"], /-D: needs a value: FILE/],
    [["-cpu", "host,sse"], /'sse' is neither \+FEATURE nor -FEATURE/],
  ])("refuses %j", (args, message) => {
    expect(() => parse(...args)).toThrow(invalid(message));
  });

  it("reads CPU features in both spellings", () => {
    const { cpuFeatures } = parse("-cpu", "host,+avx,-vmx,x2apic=off,sse4.1=on");
    expect([...cpuFeatures]).toEqual([
      ...[["avx", true] as const, ["vmx", false] as const, ["x2apic", false] as const, ["sse4.1", true] as const],
    ]);
  });

  it("chooses what ends lead to", () => {
    expect(parse("-no-reboot", "-no-shutdown").policy).toMatchObject({ onReset: "shutdown", onShutdown: "pause" });
    expect(parse("-action", "panic=none,reboot=shutdown", "-action", "shutdown=pause").policy).toEqual({
      ...{ onPanic: "run", onReset: "shutdown", onShutdown: "pause" },
    });
  });

  it("never fails but with an option's error", () => {
    const word = fc.oneof(fc.string(), fc.constantFrom(...Object.keys(optionTable).map((name) => `-${name}`)));
    fc.assert(
      fc.property(fc.array(word, { maxLength: 8 }), (args) => {
        try {
          const line = parseCommandLine(args);
          if (line.kind === "run") vmConfig({ ...line.options, kernel: "k" });
        } catch (error) {
          expect(["OPTION_INVALID", "MEMORY_BACKEND_SIZE"]).toContain((error as { code?: string }).code);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("has help for every option that does something", () => {
    const help = helpText();
    for (const [name, entry] of Object.entries(optionTable)) {
      if (entry.help !== "") expect(help).toContain(`-${name} ${entry.argument ?? ""}`.trimEnd());
    }
  });
});

describe("a VM's configuration", () => {
  it("is 256 MiB of shared memory and one vCPU unless options say otherwise", () => {
    expect(config()).toEqual({
      memory: { sizeMiB: 256, prealloc: false, dump: true },
      boot: { kernel: "k", cmdline: "" },
      policy: { onPanic: "shutdown" },
      slots: { disks: 6, nics: 2, nicQueues: 1 },
    });
  });

  it("has as many slots for hot-plug as its machine says", () => {
    expect(config("-machine", "microvm,disk-slots=2,nic-slots=0,nic-slot-queues=4").slots).toEqual({
      ...{ disks: 2, nics: 0, nicQueues: 4 },
    });
    expect(() => config("-machine", "microvm,disk-slots=7")).toThrow("disk-slots=7 is not a whole number from 0 to 6");
  });

  it("takes everything from its options", () => {
    const given = ["-name", "guest=a", "-initrd", "i", "-append", "x", "-append", "y", "-smp", "2,maxcpus=4"];
    expect(config(...given, "-m", "1G", "-mem-prealloc")).toMatchObject({
      name: "a",
      memory: { sizeMiB: 1024, prealloc: true },
      vcpus: 2,
      maxVcpus: 4,
      topology: { sockets: 4, dies: 1, cores: 1, threads: 1 },
      boot: { kernel: "k", initrd: "i", cmdline: "x y" },
    });
  });

  const object = (text: string, ...more: string[]) => config("-m", "64", "-object", `${text},size=64M`, ...more).memory;
  it.each([
    ["memory-backend-ram,id=r", { backend: { kind: "memfd" } }],
    ["memory-backend-ram,id=r,share=off", { backend: { kind: "anonymous" } }],
    ["memory-backend-memfd,id=r,hugetlb=on,hugetlbsize=1G", { backend: { kind: "memfd", hugePages: "1G" } }],
    [
      "memory-backend-file,id=r,mem-path=/f,align=2M",
      { backend: { kind: "file", path: "/f", share: false }, alignment: 2 << 20 },
    ],
    [
      "memory-backend-file,id=r,mem-path=/f,share=on,dump=off",
      { backend: { kind: "file", path: "/f", share: true }, dump: false },
    ],
  ])("backs memory with %s", (text, expected) => {
    expect(object(text)).toMatchObject({ sizeMiB: 64, id: "r", ...expected });
    expect(object(text, "-machine", "memory-backend=r")).toEqual(object(text));
  });

  it("backs memory with a path", () => {
    expect(config("-mem-path", "/f").memory).toMatchObject({ backend: { kind: "file", path: "/f", share: false } });
    expect(config("-mem-path", "/f", "-machine", "mem-share=on").memory.backend).toMatchObject({ share: true });
  });

  it("names the object that does not fit", () => {
    expect(() => object("memory-backend-ram,id=r", "-machine", "memory-backend=x")).toThrow(invalid(/no object 'x'/));
    const wrong = () =>
      config("-m", "65", "-object", "memory-backend-ram,id=r,size=64M", "-machine", "memory-backend=r");
    expect(wrong).toThrow(invalid(/'r' has 64 MiB, but the guest has 65 MiB/, "MEMORY_BACKEND_SIZE"));
  });
});
