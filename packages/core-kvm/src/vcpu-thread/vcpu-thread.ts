import { BatonError, getpid, SIGURG, type ThreadTime, tgkill, threadTime, view } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import { EventEmitter } from "eventemitter3";
import { kvm_run } from "../abi/kvm.js";
import type { Bus } from "../bus/bus.js";
import { forwardedAccesses } from "../bus/forward.js";
import type { DeviceEvent, EmbedderHandler } from "../bus/handler.js";
import type { VcpuExit } from "../exit.js";
import { type PooledThread, threadPool } from "../thread-pool/thread-pool.js";
import type { Vcpu } from "../vcpu.js";
import {
  type ControlViews,
  controlViews,
  counter,
  createControl,
  type ExitReason,
  exitReasons,
  mailbox,
  request,
  type stopPoint,
  stopPointNames,
  word,
} from "./control.js";
import type { VcpuMessage } from "./messages.js";

/** What a vCPU's thread reports. */
export interface VcpuThreadEvents {
  /** The vCPU left the guest for a reason that no device handles, and is paused. */
  exit: [exit: VcpuExit];
  /** A device's handler reported something. */
  device: [event: DeviceEvent];
  /** A handler threw, or KVM refused to run the vCPU; it is paused. */
  failed: [error: BatonError];
}

/** Figures of one vCPU since its thread was assigned. */
export interface VcpuStatistics {
  /** All exits but those that `kicks` counts. */
  readonly exits: number;
  /** All exits, each under its reason. */
  readonly exitsByReason: Readonly<Record<ExitReason, number>>;
  readonly pioExits: number;
  readonly mmioExits: number;
  readonly forwardedExits: number;
  /** Accesses that no device claimed. */
  readonly unclaimedAccesses: number;
  /** How often a signal took it out of the guest: the reason `interrupted`. */
  readonly kicks: number;
}

/** Processor time of a vCPU's thread since it was assigned, in nanoseconds. Neither figure ever falls. */
export interface VcpuTime {
  /** In the guest. The kernel may count it in ticks of 10 ms. */
  readonly guestNs: number;
  /** In the kernel and in this process: exits, interrupts, what KVM emulates. */
  readonly vmmNs: number;
}

/** Where a pause found the vCPU. */
export type StopPoint = keyof typeof stopPoint;

/** What {@link VcpuThread.start} needs. */
export interface VcpuThreadOptions {
  readonly vcpu: Vcpu;
  readonly bus: Bus;
  readonly memory: GuestMemory;
  /** For each device of the bus: the eventfd of the device thread that answers for it, or -1; none unless given. */
  readonly wakeFds?: readonly number[];
}

/** A vCPU with the thread that runs it. Made paused; {@link VcpuGroup} drives all vCPUs of a VM together. */
export class VcpuThread extends EventEmitter<VcpuThreadEvents> {
  readonly vcpu: Vcpu;
  /** The control block, through which device threads find accesses that wait for them. */
  readonly control: SharedArrayBuffer;
  readonly #views: ControlViews;
  readonly #run: Uint8Array;
  readonly #thread: PooledThread;
  readonly #handlers: readonly { readonly name: string; readonly handler: EmbedderHandler | null }[];
  #waiters: { sequence: number; resolve: () => void }[] = [];
  #pausedSequence = -1;
  #released: Promise<void>;
  #isReleased = false;
  /** Time of the thread before it was assigned. */
  #timeBefore: ThreadTime = { totalNs: 0, guestNs: 0 };
  #lastTime: VcpuTime = { guestNs: 0, vmmNs: 0 };
  #running = false;

  private constructor(thread: PooledThread, options: VcpuThreadOptions) {
    super();
    const { vcpu, bus, memory } = options;
    this.vcpu = vcpu;
    this.control = createControl();
    this.#views = controlViews(this.control);
    this.#views.words[word.request] = request.pause;
    this.#run = new Uint8Array(view(vcpu.runHva, vcpu.runSize));
    this.#thread = thread;
    this.#handlers = bus.devices.map(({ name, handler }) => ({
      name,
      handler: handler.thread === "embedder" ? handler.handler : null,
    }));
    let released = () => {};
    this.#released = new Promise((resolve) => {
      released = resolve;
    });
    thread.interrupt = () => this.#request(request.stop);
    thread.assign(
      {
        role: "vcpu",
        vcpuFd: vcpu.fd.raw,
        vmFd: vcpu.vm.fd.raw,
        runHva: vcpu.runHva,
        runSize: vcpu.runSize,
        control: this.control,
        bus: bus.describe(),
        memory: memory.describe(),
        wakeFds: options.wakeFds ?? bus.devices.map(() => -1),
      },
      (message) => this.#receive(message as VcpuMessage, released),
    );
  }

  /** Gives the vCPU a thread; resolves when the handlers are loaded and the vCPU is paused, ready to run. */
  static async start(options: VcpuThreadOptions): Promise<VcpuThread> {
    const thread = new VcpuThread(await threadPool.acquire(), options);
    let failure: BatonError | undefined;
    const onFailed = (error: BatonError) => {
      failure = error;
    };
    thread.once("failed", onFailed);
    await Promise.race([thread.#pausedAt(0), thread.#released]);
    thread.off("failed", onFailed);
    if (failure !== undefined) throw failure;
    thread.#timeBefore = threadTime(thread.tid);
    return thread;
  }

  /** The kernel's id of the thread. */
  get tid(): number {
    return Atomics.load(this.#views.words, word.tid);
  }

  /** Whether the vCPU has been told to run. */
  get running(): boolean {
    return this.#running;
  }

  /** Where the last pause found the vCPU. */
  get stopPoint(): StopPoint {
    return stopPointNames[Atomics.load(this.#views.words, word.stopPoint)] ?? "other";
  }

  get statistics(): VcpuStatistics {
    const c = (index: number) => this.#views.counters[index] as number;
    const exitsByReason = Object.fromEntries(exitReasons.map((reason, i) => [reason, c(i)]));
    const all = exitReasons.reduce((sum, _, i) => sum + c(i), 0);
    return {
      exits: all - c(counter.interrupted),
      exitsByReason: exitsByReason as Record<ExitReason, number>,
      pioExits: c(counter.ioIn) + c(counter.ioOut),
      mmioExits: c(counter.mmioRead) + c(counter.mmioWrite),
      forwardedExits: c(counter.forwarded),
      unclaimedAccesses: c(counter.unclaimed),
      kicks: c(counter.interrupted),
    };
  }

  /** What the thread has spent, in the guest and out of it; after {@link close}, what was last asked for. */
  get time(): VcpuTime {
    if (this.#isReleased) return this.#lastTime;
    const now = threadTime(this.tid);
    const totalNs = now.totalNs - this.#timeBefore.totalNs;
    const guestNs = Math.min(now.guestNs - this.#timeBefore.guestNs, totalNs);
    // Ticks run behind or ahead of the exact total: what was said once is not taken back.
    const vmmNs = Math.max(this.#lastTime.vmmNs, totalNs - guestNs);
    this.#lastTime = { guestNs: totalNs - vmmNs, vmmNs };
    return this.#lastTime;
  }

  /** Asks for a pause; resolves when the vCPU has left the guest and its last exit is complete. */
  requestPause(): Promise<void> {
    const sequence = Atomics.add(this.#views.words, word.pauseSequence, 1) + 1;
    this.#running = false;
    const paused = this.#pausedAt(sequence);
    this.#request(request.pause);
    return paused;
  }

  /** Lets the vCPU run, whether or not a pause had been reached. */
  resume(): void {
    this.#running = true;
    Atomics.and(this.#views.words, word.request, ~request.pause);
    this.#wake();
  }

  /** The access that waits for another thread's answer, if there is one: device, space and address. */
  get pendingAccess(): { readonly device: string; readonly space: "pio" | "mmio"; readonly address: number } | null {
    const { words } = this.#views;
    if (Atomics.load(words, word.mailbox) !== mailbox.asked) return null;
    return {
      device: this.#handlers[words[word.device] as number]?.name ?? "?",
      space: words[word.space] === 0 ? "pio" : "mmio",
      address: (words[word.address] as number) >>> 0,
    };
  }

  /** Ends the run and gives the thread back; the vCPU itself stays open. May be called again. */
  async close(): Promise<void> {
    this.#running = false;
    this.#request(request.stop);
    await this.#released;
  }

  #request(bit: number): void {
    const { words } = this.#views;
    // Once the thread is given back, it runs another vCPU, and this one's run mapping may be gone.
    if (this.#isReleased) return;
    Atomics.or(words, word.request, bit);
    this.#run[kvm_run.immediate_exit] = 1;
    const tid = this.tid;
    if (tid !== 0) tgkill(getpid(), tid, SIGURG);
    this.#wake();
    if (bit !== request.stop) return;
    Atomics.compareExchange(words, word.mailbox, mailbox.asked, mailbox.failed);
    Atomics.notify(words, word.mailbox);
  }

  #wake(): void {
    Atomics.add(this.#views.words, word.changes, 1);
    Atomics.notify(this.#views.words, word.changes);
  }

  #pausedAt(sequence: number): Promise<void> {
    if (this.#pausedSequence >= sequence || this.#isReleased) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.push({ sequence, resolve });
    });
  }

  #receive(message: VcpuMessage, released: () => void): void {
    switch (message.type) {
      case "paused":
        this.#pausedSequence = message.sequence;
        this.#waiters = this.#waiters.filter((waiter) => {
          if (waiter.sequence > message.sequence) return true;
          waiter.resolve();
          return false;
        });
        return;
      case "exit":
        this.emit("exit", message.exit);
        return;
      case "event":
        this.emit("device", message.event);
        return;
      case "forward":
        void this.#answer();
        return;
      case "failed": {
        const { code, message: text, details } = message.error;
        this.emit("failed", new BatonError(code, `vCPU ${this.vcpu.id}: ${text}`, { details: details ?? {} }));
        return;
      }
      case "released":
        this.#isReleased = true;
        threadPool.release(this.#thread);
        this.#waiters.splice(0).forEach((waiter) => {
          waiter.resolve();
        });
        released();
        return;
      case "ready":
        return;
      default:
        message satisfies never;
    }
  }

  /** Answers the access in the mailbox with the embedder's handler. */
  async #answer(): Promise<void> {
    const { words } = this.#views;
    const { name, handler } = this.#handlers[words[word.device] as number] ?? { name: "?", handler: null };
    let outcome: number = mailbox.answered;
    try {
      if (handler === null) throw new BatonError("BUS_NO_HANDLER", `${name} has no handler in this thread`);
      for (const access of forwardedAccesses(this.#views)) {
        if (access.write) await handler.write(access.offset, access.size, access.value);
        else access.answer(await handler.read(access.offset, access.size));
      }
    } catch (error) {
      outcome = mailbox.failed;
      const { message } = BatonError.from(error, "DEVICE_HANDLER_FAILED");
      this.emit("failed", new BatonError("DEVICE_HANDLER_FAILED", `${name}: ${message}`, { cause: error }));
    }
    Atomics.compareExchange(words, word.mailbox, mailbox.asked, outcome);
    Atomics.notify(words, word.mailbox);
  }
}
