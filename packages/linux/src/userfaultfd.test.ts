import { afterEach, describe, expect, it } from "@jest/globals";
import { absence } from "../../../test/absence.js";
import { message, startWorker } from "../test/child.js";
import { POLLIN } from "./abi/event.js";
import { MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from "./abi/mman.js";
import { liveFds } from "./fd.js";
import { ftruncate } from "./files.js";
import { mmap, munmap, view } from "./maps.js";
import { memfdCreate } from "./memfd.js";
import { poll } from "./poll.js";
import { Userfaultfd } from "./userfaultfd.js";

const PAGE = 4096;
const absent = absence(() => Userfaultfd.open());
const permitted = absent === "" ? it : it.skip;
afterEach(() => expect(liveFds()).toEqual([]));

describe(`userfaultfd${absent}`, () => {
  permitted("answers a worker's faults on shared memory", async () => {
    using memfd = memfdCreate("u");
    ftruncate(memfd, 4 * PAGE);
    const hva = mmap({ length: 4 * PAGE, prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED, fd: memfd });
    const source = mmap({ length: PAGE, prot: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS });
    new Uint8Array(view(source, PAGE)).fill(0x5a);
    using uffd = Userfaultfd.open();
    expect(uffd.readEvents()).toEqual([]);
    uffd.register(hva, 4 * PAGE, { missing: true });
    const worker = startWorker(
      `const bytes = new Uint8Array(L.view(workerData.hva, workerData.length));
       parentPort.postMessage("ready");
       const first = bytes[4096 + 5];
       bytes[2 * 4096] = 9;
       parentPort.postMessage([first, bytes[2 * 4096], bytes[2 * 4096 + 1]]);`,
      { hva, length: 4 * PAGE },
    );
    expect(await message(worker)).toBe("ready");
    const answer = message(worker);
    expect(poll([{ fd: uffd.fd, events: POLLIN }], 10_000)).toEqual([POLLIN]);
    const [read] = uffd.readEvents();
    expect(read).toMatchObject({ kind: "pagefault", write: false, minor: false, writeProtected: false });
    expect(read?.kind === "pagefault" && read.address >> 12n).toBe((hva + BigInt(PAGE)) >> 12n);
    expect(uffd.copy(hva + BigInt(PAGE), source, PAGE)).toBe(PAGE);
    expect(poll([{ fd: uffd.fd, events: POLLIN }], 10_000)).toEqual([POLLIN]);
    expect(uffd.readEvents()).toMatchObject([{ kind: "pagefault", write: true }]);
    expect(uffd.zeroPage(hva + 2n * BigInt(PAGE), PAGE)).toBe(PAGE);
    expect(await answer).toEqual([0x5a, 9, 0]);
    expect(uffd.tryCopy(hva + BigInt(PAGE), source, PAGE)).toBe(-17);
    expect(() => uffd.copy(hva + BigInt(PAGE), source, PAGE)).toThrow(
      "ioctl UFFDIO_COPY userfaultfd: file exists (EEXIST)",
    );
    uffd.unregister(hva, 4 * PAGE);
    await worker.terminate();
    munmap(source, PAGE);
    munmap(hva, 4 * PAGE);
  });

  permitted("maps what is in the page cache, on minor faults", async () => {
    using memfd = memfdCreate("minor");
    ftruncate(memfd, PAGE);
    const flags = { length: PAGE, prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED, fd: memfd };
    const [hva, alias] = [mmap(flags), mmap(flags)];
    new Uint8Array(view(alias, PAGE))[0] = 77;
    using uffd = Userfaultfd.open({ features: 1n << 10n });
    uffd.register(hva, PAGE, { minor: true });
    const worker = startWorker(`parentPort.postMessage(new Uint8Array(L.view(workerData, 1))[0]);`, hva);
    const answer = message(worker);
    while (poll([{ fd: uffd.fd, events: POLLIN }], 0)[0] === 0) await new Promise(setImmediate);
    expect(uffd.readEvents()).toMatchObject([{ kind: "pagefault", minor: true }]);
    expect(uffd.continue(hva, PAGE)).toBe(PAGE);
    expect(await answer).toBe(77);
    await worker.terminate();
    munmap(hva, PAGE);
    munmap(alias, PAGE);
  });

  permitted("refuses features that the kernel lacks", () => {
    expect(() => Userfaultfd.open({ features: 1n << 60n })).toThrow("ioctl UFFDIO_API userfaultfd");
  });
});
