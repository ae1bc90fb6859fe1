/** Control messages (virtio 1.2, 5.3.6.2). */
export const DEVICE_READY = 0;
export const DEVICE_ADD = 1;
export const PORT_READY = 3;
export const CONSOLE_PORT = 4;
export const RESIZE = 5;
export const PORT_OPEN = 6;
export const PORT_NAME = 7;

/** Bytes of every message's head: port, event, value. */
export const CONTROL_BYTES = 8;

/** A message's head. */
export interface ControlMessage {
  readonly port: number;
  readonly event: number;
  readonly value: number;
}

/** Reads a message from the driver. */
export function parseControl(bytes: Uint8Array): ControlMessage {
  const data = new DataView(bytes.buffer, bytes.byteOffset, CONTROL_BYTES);
  return { port: data.getUint32(0, true), event: data.getUint16(4, true), value: data.getUint16(6, true) };
}

/** A message as the driver reads it. */
export function encodeControl({ port, event, value }: ControlMessage, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(CONTROL_BYTES + payload.length);
  const data = new DataView(bytes.buffer);
  data.setUint32(0, port, true);
  data.setUint16(4, event, true);
  data.setUint16(6, value, true);
  bytes.set(payload, CONTROL_BYTES);
  return bytes;
}

/**
 * Messages that wait for buffers of the driver, in order. Bounded whatever the driver does: a port has each message once,
 * and `PORT_OPEN` twice, as a peer that has gone and come again, or the other way round.
 */
export class ControlOutbox {
  #waiting: ControlMessage[] = [];

  get messages(): readonly ControlMessage[] {
    return this.#waiting;
  }

  get next(): ControlMessage | undefined {
    return this.#waiting[0];
  }

  /** Takes the next message out. */
  shift(): void {
    this.#waiting.shift();
  }

  add(message: ControlMessage): void {
    const same = (other: ControlMessage) => other.port === message.port && other.event === message.event;
    if (message.event !== PORT_OPEN) {
      if (!this.#waiting.some(same)) this.#waiting.push(message);
      return;
    }
    const waiting = this.#waiting.filter(same);
    const last = waiting[waiting.length - 1];
    if (last?.value === message.value) return;
    if (waiting.length < 2) this.#waiting.push(message);
    else this.#waiting = this.#waiting.filter((other) => other !== last);
  }

  /** Forgets a port's messages, or all. */
  clear(port?: number): void {
    this.#waiting = port === undefined ? [] : this.#waiting.filter((message) => message.port !== port);
  }
}
