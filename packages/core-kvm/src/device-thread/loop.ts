import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { BatonError, drainEventfd, EPOLLIN, Epoll } from "@baton/linux";
import { GuestMemory } from "@baton/memory";
import { forwardedAccesses } from "../bus/forward.js";
import type { BusHandler, HandlerFactory } from "../bus/handler.js";
import { setIrqLine } from "../interrupt/irqchip.js";
import { type ControlViews, controlViews, mailbox, word } from "../vcpu-thread/control.js";
import { type DeviceAssignment, reportError } from "../vcpu-thread/messages.js";
import type { DeviceCommand, DeviceReply } from "./messages.js";
import { Polling } from "./polling.js";
import type { Poller, Service, ServiceFactory } from "./service.js";

const WAKE_TOKEN = 0;
const MAX_READY = 64;

interface Group {
  readonly controls: readonly ControlViews[];
  readonly handlers: readonly (BusHandler | null)[];
}

/** The work of a device thread: waits on descriptors with epoll, answers accesses of vCPUs, and runs services. */
export class DeviceLoop {
  readonly #port: MessagePort;
  readonly #wakeFd: number;
  readonly #epoll = new Epoll();
  readonly #groups = new Map<number, Group>();
  readonly #services = new Map<number, Service>();
  readonly #watches = new Map<number, { readonly onReady: (events: number) => void; readonly service: number }>();
  readonly #ready = new Uint32Array(2 * MAX_READY);
  readonly #polling: Polling;
  /** Work that was put off, of the services that put it off. */
  #deferred: { readonly work: () => void; readonly service: number }[] = [];
  /** Whether there may be messages. */
  #mail = true;
  #nextToken = WAKE_TOKEN + 1;
  #stopped = false;

  constructor(assignment: DeviceAssignment) {
    this.#port = assignment.port;
    this.#wakeFd = assignment.wakeFd;
    this.#polling = new Polling(assignment.polling);
    this.#epoll.add(this.#wakeFd, EPOLLIN, WAKE_TOKEN);
  }

  /** Runs until it is told to stop. Commands that load code leave the blocking wait for as long as that takes. */
  async run(): Promise<void> {
    try {
      while (!this.#stopped) {
        const message = this.#waitForCommand();
        await this.#execute(message);
      }
    } finally {
      for (const service of this.#services.values()) service.close();
      this.#epoll.close();
      this.#port.close();
    }
  }

  #waitForCommand(): DeviceCommand {
    for (;;) {
      if (this.#mail) {
        const received = receiveMessageOnPort(this.#port);
        if (received !== undefined) return received.message as DeviceCommand;
        this.#mail = false;
      }
      const idle = this.#deferred.length === 0;
      if (idle && this.#polling.enabled) {
        // Descriptors that are always ready must not keep the pollers from their turn.
        this.#wait(0);
        if (this.#mail || this.#polling.run(() => this.#wait(0))) continue;
        // What was served just now may have put work off.
        this.#wait(this.#deferred.length === 0 ? -1 : 0);
        this.#polling.woken();
      } else this.#wait(idle ? -1 : 0);
      this.#runDeferred();
    }
  }

  /** Serves the descriptors that are ready within `timeoutMs`; whether there were any. */
  #wait(timeoutMs: number): boolean {
    const ready = this.#ready;
    const count = this.#epoll.wait(MAX_READY, timeoutMs, ready);
    for (let i = 0; i < count; i++) {
      const token = ready[2 * i] as number;
      const events = ready[2 * i + 1] as number;
      if (token === WAKE_TOKEN) {
        drainEventfd(this.#wakeFd);
        this.#mail = true;
        this.#answerAccesses();
      } else {
        const watch = this.#watches.get(token);
        if (watch !== undefined) this.#guard(watch.service, () => watch.onReady(events));
      }
    }
    return count > 0;
  }

  #runDeferred(): void {
    if (this.#deferred.length === 0) return;
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const { work, service } of deferred) if (this.#services.has(service)) this.#guard(service, work);
  }

  /** Runs a service's code; what it throws ends the service and nothing else. */
  #guard(service: number, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#post({ type: "failed", group: -1, service, error: reportError(error, "DEVICE_SERVICE_FAILED") });
      this.#endService(service);
    }
  }

  #answerAccesses(): void {
    for (const [id, group] of this.#groups) {
      for (const control of group.controls) {
        if (Atomics.load(control.words, word.mailbox) === mailbox.asked) this.#answer(id, group, control);
      }
    }
  }

  #answer(id: number, group: Group, control: ControlViews): void {
    const handler = group.handlers[control.words[word.device] as number];
    if (!handler) return;
    let outcome: number = mailbox.answered;
    try {
      for (const access of forwardedAccesses(control)) {
        if (access.write) handler.write(access.offset, access.size, access.value);
        else access.answer(handler.read(access.offset, access.size));
      }
    } catch (error) {
      outcome = mailbox.failed;
      this.#post({ type: "failed", group: id, service: -1, error: reportError(error, "DEVICE_HANDLER_FAILED") });
    }
    Atomics.compareExchange(control.words, word.mailbox, mailbox.asked, outcome);
    Atomics.notify(control.words, word.mailbox);
  }

  async #execute(command: DeviceCommand): Promise<void> {
    const { sequence } = command;
    let value: unknown;
    try {
      if (command.type === "attach") await this.#attach(command);
      else if (command.type === "detach") this.#groups.delete(command.group);
      else if (command.type === "serve") await this.#startService(command.service, command.description);
      else if (command.type === "unserve") this.#endService(command.service);
      else if (command.type === "call") {
        const service = this.#services.get(command.service);
        if (service?.call === undefined) throw new BatonError("SERVICE_CLOSED", `${command.method}: no such service`);
        value = await service.call(command.method, command.args);
      } else this.#stopped = true;
      this.#post({ type: "done", sequence, value });
    } catch (error) {
      this.#post({ type: "refused", sequence, error: reportError(error) });
    }
    this.#answerAccesses();
  }

  async #attach(command: Extract<DeviceCommand, { type: "attach" }>): Promise<void> {
    const memory = GuestMemory.attach(command.memory);
    const handlers: (BusHandler | null)[] = [];
    for (const [index, device] of command.bus.devices.entries()) {
      if (device.thread !== "device" || device.module === null || !command.loads) {
        const service = command.services[index] ?? -1;
        handlers.push(this.#services.get(service)?.bus ?? null);
        continue;
      }
      const factory = await load<HandlerFactory>(device.module.module, device.module.factory);
      handlers.push(
        factory({
          shared: device.module.shared,
          options: device.module.options,
          memory,
          setIrq: (gsi, level) => setIrqLine(command.vmFd, gsi, level),
          interrupted: () => false,
          emit: (event) => this.#post({ type: "event", group: command.group, event }),
        }),
      );
    }
    this.#groups.set(command.group, { controls: command.controls.map(controlViews), handlers });
  }

  async #startService(id: number, description: { module: string; factory: string; options: unknown }): Promise<void> {
    const factory = await load<ServiceFactory>(description.module, description.factory);
    this.#services.set(
      id,
      await factory({
        options: description.options,
        emit: (event) => this.#post({ type: "service-event", service: id, event }),
        watch: (fd, events, onReady) => {
          const token = this.#nextToken++;
          this.#epoll.add(fd, events, token);
          this.#watches.set(token, { onReady, service: id });
          return () => {
            if (this.#watches.delete(token)) this.#epoll.delete(fd);
          };
        },
        defer: (work) => this.#deferred.push({ work, service: id }),
        poll: (poller) => this.#polling.add(this.#guarded(id, poller)),
      }),
    );
  }

  #guarded(service: number, poller: Poller): Poller {
    const guard = (work: () => boolean): boolean => {
      let worked = false;
      this.#guard(service, () => {
        worked = work();
      });
      return worked;
    };
    return {
      begin: () => this.#guard(service, () => poller.begin()),
      poll: () => guard(() => poller.poll()),
      end: () => guard(() => poller.end()),
    };
  }

  #endService(id: number): void {
    this.#services.get(id)?.close();
    this.#services.delete(id);
  }

  #post(reply: DeviceReply): void {
    this.#port.postMessage(reply);
  }
}

async function load<F>(module: string, name: string): Promise<F> {
  const code = (await import(module)) as Record<string, F | undefined>;
  const factory = code[name];
  if (factory === undefined) throw new Error(`${module} has no ${name}`);
  return factory;
}
