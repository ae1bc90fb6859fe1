import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accept, connect, type Fd, listenPrivately, tryRecv, trySend } from "@baton/linux";
import type { QueueFeatures } from "../../src/index.js";
import { ringKinds } from "./net-bench.js";
import { type Ports, VsockGuest, type VsockPacket } from "./vsock-guest.js";

/** Where programs of the guest and of the host listen. */
export const GUEST_PORT = 52;
export const HOST_PORT = 1024;

const [split] = ringKinds as [QueueFeatures];

/** A connection that is open on both sides. */
export interface Conversation {
  /** The socket of the host's program. */
  readonly program: Fd;
  readonly ports: Ports;
}

/** A socket device, its guest, and programs of the host. */
export class VsockWorld {
  readonly guest: VsockGuest;
  readonly #directory: string;
  readonly #fds: Fd[];

  private constructor(guest: VsockGuest, directory: string, fds: Fd[]) {
    this.guest = guest;
    this.#directory = directory;
    this.#fds = fds;
  }

  static async start({ rings = split, buffers = 64 } = {}): Promise<VsockWorld> {
    const directory = mkdtempSync(join(tmpdir(), "baton-vsock-"));
    const path = join(directory, "vs");
    const listener = listenPrivately(path);
    const guest = await VsockGuest.start({ listenFd: listener.raw, path }, rings, { buffers });
    return new VsockWorld(guest, directory, [listener]);
  }

  get path(): string {
    return join(this.#directory, "vs");
  }

  /** Closed at the end. */
  keep(fd: Fd): Fd {
    this.#fds.push(fd);
    return fd;
  }

  /** A program that connects, and says this. */
  dial(line = ""): Fd {
    const program = this.keep(connect({ kind: "unix", path: this.path }, { nonblock: true }));
    if (line !== "") write(program, line);
    return program;
  }

  /** A program that listens for the guest. */
  listen(port = HOST_PORT): Fd {
    return this.keep(listenPrivately(`${this.path}_${port}`));
  }

  /** A program that asks for a port, and what the guest hears of it. */
  ask(): Conversation {
    const program = this.dial(`CONNECT ${GUEST_PORT}\n`);
    const { hostPort, guestPort } = this.guest.until(
      () => this.guest.hear().find(({ op }) => op === "request"),
      "a request",
    );
    return { program, ports: { hostPort, guestPort } };
  }

  hostToGuest(): Conversation {
    const { program, ports } = this.ask();
    this.guest.send(ports, "response");
    this.guest.bench.settle();
    const answer = read(program)?.toString();
    if (answer !== `OK ${ports.hostPort}\n`) throw new Error(`the host's program reads ${answer}`);
    return { program, ports };
  }

  guestToHost(guestPort = 2000): Conversation {
    const path = `${this.path}_${HOST_PORT}`;
    using listener = listenPrivately(path);
    const ports = { hostPort: HOST_PORT, guestPort };
    this.guest.send(ports, "request");
    const answers = kinds(this.guest.hear());
    if (answers.join() !== "response") throw new Error(`the guest hears ${answers}`);
    const program = this.keep(accept(listener, { nonblock: true }) as Fd);
    rmSync(path);
    return { program, ports };
  }

  /** How many connections the device has. */
  get connections(): number {
    return (this.guest.bench.command("info") as { connections: number }).connections;
  }

  [Symbol.dispose](): void {
    this.guest[Symbol.dispose]();
    for (const fd of this.#fds) fd.close();
    rmSync(this.#directory, { recursive: true });
  }
}

/** What a program reads now; null at the end. */
export function read(fd: Fd, length = 1 << 20): Buffer | null {
  const bytes = Buffer.alloc(length);
  const count = tryRecv(fd.raw, bytes);
  if (count === 0) return null;
  return count < 0 ? Buffer.alloc(0) : bytes.subarray(0, count);
}

/** Bytes that were taken, or a negative error number. */
export function write(fd: Fd, bytes: string | Uint8Array): number {
  return trySend(fd.raw, Buffer.from(bytes));
}

export function kinds(packets: readonly VsockPacket[]): string[] {
  return packets.map(({ op }) => op);
}

export function payload(packets: readonly VsockPacket[]): Buffer {
  return Buffer.concat(packets.map((packet) => packet.payload));
}

/** Bytes that tell themselves from others. */
export function pattern(length: number, seed = 1): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8) * seed));
}

/** The list, where it has something. */
export function some<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length > 0 ? list : undefined;
}
