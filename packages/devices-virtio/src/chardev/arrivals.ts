import { accept, drainEventfd, EPOLLIN, type Fd, hungUp, timerfdCreate, timerfdSettime } from "@baton/linux";
import type { CharEndpoint } from "./backend.js";

/** What it needs of its device thread. */
export interface ArrivalsContext {
  watch(fd: number, events: number, onReady: (events: number) => void): () => void;
}

/** What it asks and tells its channel. */
export interface ArrivalsEvents {
  /** Whether there is room for a client: nobody is there, somebody is, or somebody has gone and is still being read. */
  room(): "free" | "taken" | "ending";
  /** Somebody has come, to be talked to through `fd`; a client's is the channel's to close. */
  onArrival(fd: number, client?: Fd): void;
}

/** How often it looks for somebody at the other side of a pseudo-terminal, and for descriptors to accept a client with. */
const LOOK_NS = 100_000_000n;

/** Waits for somebody at the other side of a listening socket or a pseudo-terminal. */
export class Arrivals {
  readonly #context: ArrivalsContext;
  readonly #endpoint: Extract<CharEndpoint, { kind: "listener" | "pty" }>;
  readonly #events: ArrivalsEvents;
  /** Goes off while somebody is waited for. */
  readonly #timer = timerfdCreate();
  #endTimerWatch: (() => void) | undefined;
  #endListenWatch: (() => void) | undefined;
  #stopped = true;

  constructor(
    context: ArrivalsContext,
    endpoint: Extract<CharEndpoint, { kind: "listener" | "pty" }>,
    events: ArrivalsEvents,
  ) {
    this.#context = context;
    this.#endpoint = endpoint;
    this.#events = events;
  }

  /** Goes on. */
  start(): void {
    this.#stopped = false;
    this.#endTimerWatch ??= this.#context.watch(this.#timer.raw, EPOLLIN, () => {
      drainEventfd(this.#timer);
      this.#look();
    });
    this.wait();
  }

  /** Accepts nobody until it is started again. */
  stop(): void {
    this.#stopped = true;
    this.#stopListening();
    this.#endTimerWatch?.();
    this.#endTimerWatch = undefined;
  }

  /** Waits for the next one, after somebody has gone. */
  wait(): void {
    if (this.#endpoint.kind === "listener") this.#listen(this.#endpoint.fd);
    else if (this.#events.room() === "free") this.#lookLater();
  }

  close(): void {
    this.stop();
    this.#timer.close();
  }

  #listen(fd: number): void {
    if (this.#stopped) return;
    this.#endListenWatch ??= this.#context.watch(fd, EPOLLIN, () => this.#accept(fd));
  }

  #stopListening(): void {
    this.#endListenWatch?.();
    this.#endListenWatch = undefined;
  }

  #accept(listener: number): void {
    const room = this.#events.room();
    if (room === "ending") {
      // The next one has to wait.
      this.#stopListening();
      return;
    }
    let client: Fd | null;
    try {
      client = accept(listener, { nonblock: true });
    } catch {
      // No descriptors, or it went at once.
      this.#stopListening();
      this.#lookLater();
      return;
    }
    if (client === null) return;
    if (room === "free") this.#events.onArrival(client.raw, client);
    else client.close();
  }

  #lookLater(): void {
    timerfdSettime(this.#timer, { value: LOOK_NS });
  }

  #look(): void {
    const endpoint = this.#endpoint;
    if (endpoint.kind === "listener") this.#listen(endpoint.fd);
    else if (this.#events.room() !== "free") return;
    else if (hungUp(endpoint.fd)) this.#lookLater();
    else this.#events.onArrival(endpoint.fd);
  }
}
