import { createSocket } from "node:dgram";
import type { AddressInfo } from "node:net";

/** The host's end of a network cable: QEMU carries each frame in a UDP datagram, and every frame is sent back. */
export interface FrameEcho extends Disposable {
  /** QEMU's words for the other end, with the id `net`. */
  readonly netdev: string;
  /** Frames that were sent back. */
  readonly frames: number;
}

async function bind(): Promise<{ socket: ReturnType<typeof createSocket>; port: number }> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return { socket, port: (socket.address() as AddressInfo).port };
}

/** QEMU's words for one end of a cable between two ports of this machine. */
export function cableEnd(id: string, local: number, remote: number): string {
  const end = (name: string, port: number) => `${name}.type=inet,${name}.host=127.0.0.1,${name}.port=${port}`;
  return `dgram,id=${id},${end("local", local)},${end("remote", remote)}`;
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const { socket, port } = await bind();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return port;
}

/** Opens a host's end that echoes. */
export async function openFrameEcho(): Promise<FrameEcho> {
  const { socket, port } = await bind();
  let frames = 0;
  socket.on("message", (frame, from) => {
    frames++;
    socket.send(frame, from.port, from.address);
  });
  const netdev = cableEnd("net", await freePort(), port);
  return {
    netdev,
    get frames() {
      return frames;
    },
    [Symbol.dispose]: () => socket.close(),
  };
}
