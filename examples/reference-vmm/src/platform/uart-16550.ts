import type { BusHandler, HandlerContext } from "@baton/core-kvm";
import { SharedLock } from "@baton/core-kvm/handler";
import { signalEventfd } from "@baton/linux";
import { SharedRing } from "./shared-ring.js";

/** What a full output ring does to the guest: `wait` stops its writes, `drop` throws bytes away and counts them. */
export type OutputPolicy = "wait" | "drop";

/** The registers of a 16550A as plain data. */
export interface UartState {
  readonly ier: number;
  readonly fcr: number;
  readonly lcr: number;
  readonly mcr: number;
  readonly lsr: number;
  readonly msr: number;
  readonly scr: number;
  readonly divisor: number;
  /** Whether "transmitter empty" has not been acknowledged. */
  readonly threPending: boolean;
  /** Bytes received and not yet read by the guest. */
  readonly received: Uint8Array;
  /** Bytes sent by the guest and not yet taken by the back end. */
  readonly sent: Uint8Array;
}

/** Bytes that wait for the guest at most. */
export const RX_CAPACITY = 4096;
/** Bytes of the guest that wait for the back end at most. */
export const TX_CAPACITY = 65536;
/** Bytes in the guest's FIFO; what else is in the input ring is still on the wire. */
const FIFO_DEPTH = 16;
/** Room in the output ring that only a vCPU about to pause may use, so that nothing is lost while it waits for a reader. */
const TX_RESERVE = 4096;
const WORDS = 32;
const RX_OFFSET = WORDS * 4;
const TX_OFFSET = RX_OFFSET + SharedRing.size(RX_CAPACITY);

const W = {
  lock: 0,
  ier: 1,
  fcr: 2,
  lcr: 3,
  mcr: 4,
  lsr: 5,
  msr: 6,
  scr: 7,
  dll: 8,
  dlm: 9,
  thre: 10,
  line: 11,
  reader: 12,
  starved: 13,
} as const;

const IER_RDI = 1;
const IER_THRI = 2;
const IER_RLSI = 4;
const IER_MSI = 8;
const LSR_DR = 1;
const LSR_OE = 2;
const LSR_THRE_TEMT = 0x60;
const LSR_ERRORS = 0x1e;
const LCR_DLAB = 0x80;
const MCR_OUT2 = 8;
const MCR_LOOP = 0x10;
const MSR_CONNECTED = 0xb0;
const FCR_ENABLE = 1;
const FCR_CLEAR_RX = 2;
const IIR_FIFO = 0xc0;

/** Whether the output's reader sleeps and must be woken by the next byte. */
const READER_ASLEEP = 1;

/** How a 16550 reaches the world outside its registers. */
export interface UartHost {
  setIrq(level: boolean): void;
  /** The output ring has its first byte after the reader fell asleep. */
  wakeReader(): void;
  /** There is room for input again. */
  inputWanted(): void;
  readonly policy: OutputPolicy;
}

interface Register {
  read(): number;
  write(value: number): void;
}

/**
 * A 16550A UART whose registers and FIFOs lie in shared memory, so that every vCPU's thread answers it without asking
 * another. The guest's output and input pass through rings that a back end serves.
 */
export class Uart16550 implements BusHandler {
  readonly input: SharedRing;
  readonly output: SharedRing;
  readonly #w: Int32Array;
  readonly #lock: SharedLock;
  readonly #host: UartHost;

  constructor(shared: SharedArrayBuffer, host: UartHost) {
    this.#w = new Int32Array(shared, 0, WORDS);
    this.#lock = new SharedLock(this.#w, W.lock);
    this.input = new SharedRing(shared, RX_OFFSET, RX_CAPACITY);
    this.output = new SharedRing(shared, TX_OFFSET, TX_CAPACITY);
    this.#host = host;
  }

  /** Makes the shared memory of a UART in its reset state. */
  static createShared(): SharedArrayBuffer {
    const shared = new SharedArrayBuffer(TX_OFFSET + SharedRing.size(TX_CAPACITY));
    const w = new Int32Array(shared, 0, WORDS);
    w[W.lsr] = LSR_THRE_TEMT;
    w[W.msr] = MSR_CONNECTED;
    w[W.mcr] = MCR_OUT2;
    w[W.dll] = 0x0c;
    w[W.reader] = READER_ASLEEP;
    return shared;
  }

  read(offset: number): number {
    return this.#locked(() => this.#register(offset).read());
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === 0 && (this.#get(W.lcr) & LCR_DLAB) === 0 && (this.#get(W.mcr) & MCR_LOOP) === 0)
      this.#transmit(value & 0xff);
    else this.#locked(() => this.#register(offset).write(value & 0xff));
  }

  /** Hands bytes to the guest; returns how many fitted. Callable from any thread. */
  receive(bytes: Uint8Array): number {
    return this.#locked(() => {
      let taken = 0;
      while (taken < bytes.length && this.input.length < RX_CAPACITY) this.input.push(bytes[taken++] as number);
      if (taken < bytes.length) Atomics.store(this.#w, W.starved, 1);
      return taken;
    });
  }

  /** The reader says that it has taken all there was and sleeps; false when a byte has come since. */
  sleepReader(): boolean {
    Atomics.store(this.#w, W.reader, READER_ASLEEP);
    if (this.output.length === 0) return true;
    return Atomics.exchange(this.#w, W.reader, 0) === 0;
  }

  /** Puts the registers into their reset state; output keeps its bytes for the back end. */
  reset(): void {
    this.#locked(() => {
      const fresh = new Int32Array(Uart16550.createShared(), 0, WORDS);
      for (const index of [W.ier, W.fcr, W.lcr, W.mcr, W.lsr, W.msr, W.scr, W.dll, W.dlm, W.thre])
        this.#w[index] = fresh[index] as number;
      this.#clearInput();
    });
  }

  /** The state, with all vCPUs paused. */
  save(): UartState {
    return {
      ier: this.#get(W.ier),
      fcr: this.#get(W.fcr),
      lcr: this.#get(W.lcr),
      mcr: this.#get(W.mcr),
      lsr: this.#get(W.lsr),
      msr: this.#get(W.msr),
      scr: this.#get(W.scr),
      divisor: this.#get(W.dll) | (this.#get(W.dlm) << 8),
      threPending: this.#get(W.thre) !== 0,
      received: this.input.peek(),
      sent: this.output.peek(),
    };
  }

  /** Sets the state of a UART that has not run; raises its interrupt again where one was due. May be called again. */
  load(state: UartState): void {
    this.#locked(() => {
      const w = this.#w;
      for (const name of ["ier", "fcr", "lcr", "mcr", "lsr", "msr", "scr"] as const) w[W[name]] = state[name];
      w[W.dll] = state.divisor & 0xff;
      w[W.dlm] = state.divisor >> 8;
      w[W.thre] = state.threPending ? 1 : 0;
      w[W.line] = 0;
      this.input.consume(this.input.length);
      this.output.consume(this.output.length);
      for (const byte of state.received) this.input.push(byte);
      for (const byte of state.sent) this.output.push(byte);
    });
    if (state.sent.length > 0) this.#wakeReader();
  }

  #get(index: number): number {
    return this.#w[index] as number;
  }

  #set(index: number, value: number): void {
    this.#w[index] = value;
  }

  #locked<T>(work: () => T): T {
    this.#lock.acquire();
    try {
      const result = work();
      this.#updateLine();
      return result;
    } finally {
      this.#lock.release();
    }
  }

  #transmit(byte: number): void {
    const { output } = this;
    const limit = TX_CAPACITY - TX_RESERVE;
    if (this.#host.policy === "wait") {
      while (output.length >= limit && !this.interrupted()) {
        this.#wakeReader();
        output.waitForRoom(100);
      }
    }
    this.#locked(() => {
      output.push(byte);
      this.#w[W.thre] = 1;
    });
    this.#wakeReader();
  }

  /** Set by whoever runs this instance: whether its thread has been asked to pause. */
  interrupted: () => boolean = () => true;

  #wakeReader(): void {
    if (Atomics.load(this.#w, W.reader) === READER_ASLEEP && Atomics.exchange(this.#w, W.reader, 0) === READER_ASLEEP) {
      this.#host.wakeReader();
    }
  }

  /** Offsets 0 to 7: what a read gives and what a write does. */
  readonly #registers: readonly Register[] = [
    { read: () => this.#takeInput(), write: (value) => this.#loopBack(value) },
    { read: () => this.#get(W.ier), write: (value) => this.#setInterrupts(value) },
    { read: () => this.#identify(), write: (value) => this.#controlFifo(value) },
    { read: () => this.#get(W.lcr), write: (value) => this.#set(W.lcr, value) },
    { read: () => this.#get(W.mcr), write: (value) => this.#set(W.mcr, value & 0x1f) },
    { read: () => this.#lineStatus(), write: () => {} },
    { read: () => this.#modemStatus(), write: () => {} },
    { read: () => this.#get(W.scr), write: (value) => this.#set(W.scr, value) },
  ];

  /** Offsets 0 and 1 while the divisor latch is open. */
  readonly #divisorLatch: readonly Register[] = [
    { read: () => this.#get(W.dll), write: (value) => this.#set(W.dll, value) },
    { read: () => this.#get(W.dlm), write: (value) => this.#set(W.dlm, value) },
  ];

  #register(offset: number): Register {
    const latched = (this.#get(W.lcr) & LCR_DLAB) !== 0 ? this.#divisorLatch[offset] : undefined;
    return latched ?? (this.#registers[offset & 7] as Register);
  }

  #takeInput(): number {
    const byte = this.input.shift();
    if (this.input.length < RX_CAPACITY / 2 && Atomics.exchange(this.#w, W.starved, 0) !== 0) this.#host.inputWanted();
    return Math.max(byte, 0);
  }

  /** A byte sent while the UART talks to itself. */
  #loopBack(value: number): void {
    if (!this.input.push(value)) this.#set(W.lsr, this.#get(W.lsr) | LSR_OE);
    this.#set(W.thre, 1);
  }

  #setInterrupts(value: number): void {
    if ((value & ~this.#get(W.ier) & IER_THRI) !== 0) this.#set(W.thre, 1);
    this.#set(W.ier, value & 0x0f);
  }

  /** Reading the identification acknowledges "transmitter empty". */
  #identify(): number {
    const cause = this.#cause();
    if (cause === 2) this.#set(W.thre, 0);
    return cause | ((this.#get(W.fcr) & FCR_ENABLE) !== 0 ? IIR_FIFO : 0);
  }

  #controlFifo(value: number): void {
    if ((value & FCR_CLEAR_RX) !== 0) this.#clearInput();
    this.#set(W.fcr, value & 0xc9);
  }

  #clearInput(): void {
    this.input.consume(Math.min(this.input.length, FIFO_DEPTH));
  }

  /** Reading the line status clears its errors. */
  #lineStatus(): number {
    const lsr = this.#get(W.lsr);
    this.#set(W.lsr, lsr & ~LSR_ERRORS);
    return this.input.length > 0 ? lsr | LSR_DR : lsr;
  }

  /** In loopback the modem's inputs are its outputs; reading clears the changes. */
  #modemStatus(): number {
    const mcr = this.#get(W.mcr);
    if ((mcr & MCR_LOOP) !== 0) return ((mcr & 0x0c) << 4) | ((mcr & 0x02) << 3) | ((mcr & 0x01) << 5);
    const msr = this.#get(W.msr);
    this.#set(W.msr, msr & 0xf0);
    return msr;
  }

  /** The interrupt identification of the most urgent cause; 1 for none. */
  #cause(): number {
    const ier = this.#get(W.ier);
    if ((ier & IER_RLSI) !== 0 && (this.#get(W.lsr) & LSR_ERRORS) !== 0) return 6;
    if ((ier & IER_RDI) !== 0 && this.input.length > 0) return 4;
    if ((ier & IER_THRI) !== 0 && this.#get(W.thre) !== 0) return 2;
    if ((ier & IER_MSI) !== 0 && (this.#get(W.msr) & 0x0f) !== 0) return 0;
    return 1;
  }

  #updateLine(): void {
    const level = this.#cause() === 1 ? 0 : 1;
    if (level === this.#get(W.line)) return;
    this.#w[W.line] = level;
    this.#host.setIrq(level === 1);
  }
}

/** What the vCPU threads' instances of a UART are told. */
export interface UartOptions {
  readonly device: string;
  readonly gsi: number;
  readonly policy: OutputPolicy;
  /** Eventfds of the back end in a device thread; without them the embedder is told by events. */
  readonly outputFd: number;
  readonly inputFd: number;
}

/** Answers a UART's registers in a vCPU thread. */
export function uart16550(context: HandlerContext): BusHandler {
  const options = context.options as UartOptions;
  const tell = (fd: number, name: string) => {
    if (fd >= 0) signalEventfd(fd);
    else context.emit({ device: options.device, name });
  };
  const uart = new Uart16550(context.shared, {
    policy: options.policy,
    setIrq: (level) => context.setIrq(options.gsi, level),
    wakeReader: () => tell(options.outputFd, "output"),
    inputWanted: () => tell(options.inputFd, "input-wanted"),
  });
  uart.interrupted = context.interrupted;
  return uart;
}
