import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { closeRam, contentsOf, expected, ram, sections } from "../../test/support/sample.js";
import {
  type Channel,
  inMemoryChannels,
  listenIncoming,
  openIncoming,
  openOutgoing,
  readStream,
  writeStream,
} from "../index.js";

const uuid = Uint8Array.from({ length: 16 }, (_, i) => i);
const base = { machineType: "microvm", uuid } as const;
const states = sections.map(({ idstr, instanceId, state }) => expect.objectContaining({ idstr, instanceId, state }));

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "baton-stream-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function transfer(write: Channel, read: Channel, capabilities: readonly "mapped-ram"[] = []) {
  const source = ram(true);
  const target = ram(false);
  try {
    const contents = { ...base, capabilities };
    const writing = writeStream(write, { ...contents, ram: source, sections }).then(async (summary) => {
      await write.end();
      return summary;
    });
    const reading = readStream(read, { ...contents, ram: target, sections: expected }).finally(() => read.close());
    const [written, got] = await Promise.all([writing, reading]);
    expect(got.sections).toEqual(states);
    expect(got.checksum).toBe(true);
    expect(contentsOf(target)).toEqual(contentsOf(source));
    expect(written).toMatchObject({ pages: 34, zeroPages: 18, totalPages: 52 });
    expect(got).toMatchObject({ pages: 34, zeroPages: 18, totalPages: 52 });
    return written;
  } finally {
    closeRam(source, target);
  }
}

describe("a stream", () => {
  it.each([[[]], [["mapped-ram"] as const]])("goes through a file with capabilities %j", async (capabilities) => {
    const path = join(directory, "stream");
    const source = ram(true);
    const target = ram(false);
    const contents = { ...base, capabilities };
    {
      await using channel = await openOutgoing(`file:${path}`);
      await writeStream(channel, { ...contents, ram: source, sections });
      expect(readdirSync(directory)).toEqual([expect.stringMatching(/^stream\..*\.partial$/)]);
      await channel.end();
    }
    expect(readdirSync(directory)).toEqual(["stream"]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await using channel = await openIncoming(`file:${path}`);
    const got = await readStream(channel, { ...contents, ram: target, sections: expected });
    expect(got.sections).toEqual(states);
    expect(contentsOf(target)).toEqual(contentsOf(source));
    closeRam(source, target);
  });

  it("goes through a part of a file", async () => {
    const path = join(directory, "shared");
    writeFileSync(path, "before");
    const source = ram(true);
    const target = ram(false);
    for (const capabilities of [[], ["mapped-ram"]] as const) {
      const contents = { ...base, capabilities };
      const channel = await openOutgoing(`file:${path},offset=0x10000`);
      await writeStream(channel, { ...contents, ram: source, sections });
      await channel.end();
      await channel.close();
      expect(readFileSync(path).subarray(0, 6).toString()).toBe("before");
      await using back = await openIncoming(`file:${path},offset=64K`);
      const got = await readStream(back, { ...contents, ram: target, sections: expected });
      expect(got.sections).toEqual(states);
      expect(contentsOf(target)).toEqual(contentsOf(source));
    }
    closeRam(source, target);
  });

  it.each(["unix", "tcp"])("goes through a socket of kind %s", async (kind) => {
    await using listener = await listenIncoming(
      kind === "unix" ? `unix:${join(directory, "socket")}` : "tcp:127.0.0.1:0",
    );
    const [write, read] = await Promise.all([openOutgoing(listener.address), listener.accept()]);
    await transfer(write, read);
    await write.close();
  });

  it("goes through a command", async () => {
    const path = join(directory, "stream");
    const write = await openOutgoing(`exec:cat > ${path}`);
    const source = ram(true);
    await writeStream(write, { ...base, ram: source, sections });
    await write.end();
    await write.close();
    await using read = await openIncoming(`exec:cat ${path}`);
    const target = ram(false);
    await readStream(read, { ...base, ram: target, sections: expected });
    expect(contentsOf(target)).toEqual(contentsOf(source));
    closeRam(source, target);
  });

  it("goes through memory", async () => {
    const [write, read] = inMemoryChannels();
    await transfer(write, read);
  });
});
