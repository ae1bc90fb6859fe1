import { parentPort } from "node:worker_threads";
import { gettid, signalEventfd, tryIoctlInt, view } from "@baton/linux";
import { GuestMemory } from "@baton/memory";
import * as abi from "../abi/kvm.js";
import { accessStep } from "../bus/forward.js";
import type { AccessSize, BusHandler, HandlerContext, HandlerFactory } from "../bus/handler.js";
import { AddressLookup, type LookupRange, PortLookup } from "../bus/lookup.js";
import { decodeExit, type VcpuExit } from "../exit.js";
import { setIrqLine } from "../interrupt/irqchip.js";
import { type ControlViews, controlViews, counter, exitCounter, mailbox, request, stopPoint, word } from "./control.js";
import { type ErrorReport, reportError, type VcpuAssignment, type VcpuMessage } from "./messages.js";

const EINTR = 4;
const EAGAIN = 11;
const { kvm_run, KVM_RUN } = abi;

/** Runs one vCPU in the calling thread until it is told to stop. Made anew for each assignment. */
export class VcpuLoop {
  readonly #assignment: VcpuAssignment;
  readonly #control: ControlViews;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #ports: PortLookup;
  readonly #addresses: AddressLookup;
  /** Handlers that run in this thread, by device number; null where another thread answers. */
  readonly #handlers: (BusHandler | null)[] = [];
  /** What the last exit was, as one of `stopPoint`. */
  #lastExit: number = stopPoint.guest;

  constructor(assignment: VcpuAssignment) {
    this.#assignment = assignment;
    this.#control = controlViews(assignment.control);
    const run = view(assignment.runHva, assignment.runSize);
    this.#u8 = new Uint8Array(run);
    this.#u16 = new Uint16Array(run);
    this.#u32 = new Uint32Array(run);
    this.#ports = new PortLookup(assignment.bus);
    this.#addresses = new AddressLookup(assignment.bus);
    Atomics.store(this.#control.words, word.tid, gettid());
  }

  /** Loads the code of the devices that are answered in this thread. */
  async load(): Promise<void> {
    const memory = GuestMemory.attach(this.#assignment.memory);
    for (const device of this.#assignment.bus.devices) {
      if (device.thread !== "vcpu" || device.module === null) {
        this.#handlers.push(null);
        continue;
      }
      const code = (await import(device.module.module)) as Record<string, HandlerFactory | undefined>;
      const factory = code[device.module.factory];
      if (factory === undefined)
        throw new Error(`${device.name}: ${device.module.module} has no ${device.module.factory}`);
      const context: HandlerContext = {
        shared: device.module.shared,
        options: device.module.options,
        memory,
        setIrq: (gsi, level) => setIrqLine(this.#assignment.vmFd, gsi, level),
        interrupted: () => Atomics.load(this.#control.words, word.request) !== 0,
        emit: (event, options) => {
          if (options?.pause) this.#pauseSelf();
          post({ type: "event", event });
        },
      };
      this.#handlers.push(factory(context));
    }
  }

  /** Runs until a stop is asked for. Starts paused. */
  run(): void {
    const fd = this.#assignment.vcpuFd;
    const u8 = this.#u8;
    const u32 = this.#u32;
    const { counters } = this.#control;
    if (!this.#serveRequests()) return;
    for (;;) {
      const kicked = u8[kvm_run.immediate_exit] as number;
      const result = tryIoctlInt(fd, KVM_RUN, 0);
      if (result < 0) {
        if (result === -EAGAIN) continue;
        if (result !== -EINTR) {
          const message = `KVM_RUN failed with error number ${-result}`;
          this.#fail({ code: "KVM_RUN_FAILED", message, details: { errno: -result } });
        }
        (counters[counter.interrupted] as number)++;
        if (kicked === 0) this.#lastExit = stopPoint.guest;
        if (!this.#serveRequests()) return;
        continue;
      }
      try {
        const reason = u32[kvm_run.exit_reason >> 2];
        if (reason === abi.KVM_EXIT_IO) this.#io();
        else if (reason === abi.KVM_EXIT_MMIO) this.#mmio();
        else if (reason === abi.KVM_EXIT_INTR) (counters[counter.interrupted] as number)++;
        else this.#unhandled(decodeExit(u8));
      } catch (error) {
        this.#fail(reportError(error, "DEVICE_HANDLER_FAILED"));
      }
    }
  }

  /** Leaves an exit that is no access to the main thread. */
  #unhandled(exit: VcpuExit): void {
    (this.#control.counters[exitCounter(exit.reason)] as number)++;
    this.#lastExit = stopPoint.other;
    this.#pauseSelf();
    post({ type: "exit", exit: cloneable(exit) });
  }

  #io(): void {
    const u8 = this.#u8;
    const out = u8[kvm_run.io_direction] === abi.KVM_EXIT_IO_OUT;
    const size = u8[kvm_run.io_size] as AccessSize;
    const port = this.#u16[kvm_run.io_port >> 1] as number;
    const count = this.#u32[kvm_run.io_count >> 2] as number;
    const at = this.#u32[kvm_run.io_data_offset >> 2] as number;
    (this.#control.counters[out ? counter.ioOut : counter.ioIn] as number)++;
    this.#lastExit = out ? (count > 1 ? stopPoint.repOut : stopPoint.ioOut) : stopPoint.ioIn;
    const range = this.#ports.find(port);
    if (range === undefined) {
      (this.#control.counters[counter.unclaimed] as number)++;
      if (!out) u8.fill(0xff, at, at + size * count);
      return;
    }
    const handler = this.#handlers[range.device];
    if (!handler) {
      if (!out) this.#lastExit = stopPoint.forwardedIn;
      this.#forward(range, port, 0, out, size, count, at);
      return;
    }
    const offset = port - range.bias;
    for (let i = 0, p = at; i < count; i++, p += size) {
      if (out) handler.write(offset, size, this.#get(p, size));
      else this.#put(p, size, handler.read(offset, size));
    }
  }

  #mmio(): void {
    const address =
      (this.#u32[kvm_run.mmio_phys_addr >> 2] as number) +
      (this.#u32[(kvm_run.mmio_phys_addr >> 2) + 1] as number) * 2 ** 32;
    const size = this.#u32[kvm_run.mmio_len >> 2] as number;
    const write = this.#u8[kvm_run.mmio_is_write] !== 0;
    const at = kvm_run.mmio_data;
    (this.#control.counters[write ? counter.mmioWrite : counter.mmioRead] as number)++;
    const split =
      size < 8 &&
      ((address + size) % 4096 === 0 || (address % 4096 === 0 && this.#lastExit === stopPoint.mmioCrossing));
    this.#lastExit = split ? stopPoint.mmioCrossing : stopPoint.mmio;
    const range = this.#addresses.find(address);
    if (range === undefined) {
      (this.#control.counters[counter.unclaimed] as number)++;
      if (!write) this.#u8.fill(0xff, at, at + size);
      return;
    }
    const handler = this.#handlers[range.device];
    if (!handler) {
      this.#forward(range, address, 1, write, size, 1, at);
      return;
    }
    const offset = address - range.bias;
    for (let done = 0; done < size; ) {
      const step = accessStep(size - done, (offset + done) | done);
      if (write) handler.write(offset + done, step, this.#get(at + done, step));
      else this.#put(at + done, step, handler.read(offset + done, step));
      done += step;
    }
  }

  /** Lets another thread answer the access, and waits. */
  #forward(
    range: LookupRange,
    address: number,
    space: 0 | 1,
    write: boolean,
    size: number,
    count: number,
    at: number,
  ): void {
    const { words, data, counters } = this.#control;
    (counters[counter.forwarded] as number)++;
    const bytes = size * count;
    if (write) data.set(this.#u8.subarray(at, at + bytes));
    words[word.device] = range.device;
    words[word.isWrite] = write ? 1 : 0;
    words[word.size] = size;
    words[word.count] = count;
    words[word.offset] = address - range.bias;
    words[word.address] = (address % 2 ** 32) | 0;
    words[word.space] = space;
    Atomics.store(words, word.mailbox, mailbox.asked);
    const wakeFd = this.#assignment.wakeFds[range.device] as number;
    if (wakeFd >= 0) signalEventfd(wakeFd);
    else post({ type: "forward" });
    while (Atomics.load(words, word.mailbox) === mailbox.asked) {
      if (Atomics.load(words, word.request) & request.stop) return;
      Atomics.wait(words, word.mailbox, mailbox.asked, 1000);
    }
    const failed = Atomics.exchange(words, word.mailbox, mailbox.idle) === mailbox.failed;
    if (failed) this.#pauseSelf();
    if (!write) this.#u8.set(data.subarray(0, bytes), at);
  }

  #get(at: number, size: number): number {
    if (size === 1) return this.#u8[at] as number;
    if (size === 2) return this.#u16[at >> 1] as number;
    return this.#u32[at >> 2] as number;
  }

  #put(at: number, size: number, value: number): void {
    if (size === 1) this.#u8[at] = value;
    else if (size === 2) this.#u16[at >> 1] = value;
    else this.#u32[at >> 2] = value;
  }

  #pauseSelf(): void {
    Atomics.or(this.#control.words, word.request, request.pause);
    this.#u8[kvm_run.immediate_exit] = 1;
  }

  /** Reports the error and pauses; what was under way is completed by the next `KVM_RUN`, which does not enter the guest. */
  #fail(error: ErrorReport): void {
    this.#pauseSelf();
    post({ type: "failed", error });
  }

  /** Pauses as long as asked to; false when the thread shall stop. */
  #serveRequests(): boolean {
    const { words } = this.#control;
    let announced = -1;
    for (;;) {
      this.#u8[kvm_run.immediate_exit] = 0;
      const changes = Atomics.load(words, word.changes);
      const bits = Atomics.load(words, word.request);
      if (bits & request.stop) return false;
      if ((bits & request.pause) === 0) return true;
      const sequence = Atomics.load(words, word.pauseSequence);
      if (sequence !== announced) {
        announced = sequence;
        Atomics.store(words, word.stopPoint, this.#lastExit);
        post({ type: "paused", sequence });
      }
      Atomics.wait(words, word.changes, changes, 1000);
    }
  }
}

function post(message: VcpuMessage): void {
  parentPort?.postMessage(message);
}

function cloneable(exit: VcpuExit): VcpuExit {
  return "data" in exit && exit.data instanceof Uint8Array ? ({ ...exit, data: exit.data.slice() } as VcpuExit) : exit;
}
