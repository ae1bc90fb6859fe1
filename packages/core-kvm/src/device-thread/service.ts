/** What a service may do in its device thread. */
export interface ServiceContext {
  readonly options: unknown;
  /** Calls `onReady` in the device thread whenever the descriptor has one of the epoll `events`; returns the end of it. */
  watch(fd: number, events: number, onReady: (events: number) => void): () => void;
  /** Sends a structured-clonable value to the embedder. */
  emit(event: unknown): void;
}

/** Code in a device thread that serves descriptors: a console's back end, a disk. */
export interface Service {
  close(): void;
}

/** What a service's module exports. */
export type ServiceFactory = (context: ServiceContext) => Service;
