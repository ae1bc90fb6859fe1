import { createServer, type Server } from "node:net";

/** What a peer does when it has taken so much; `drain` takes all, to the end, and never closes its side. */
export type PeerEnd = "close" | "hang" | "drain";

/** Peers of one test file, which listen on UNIX sockets. */
export class Peers {
  readonly #servers: Server[] = [];

  /** One that takes `bytes` of a connection and then does something with it; `reached` resolves at that point. */
  async listen(path: string, bytes: number, then: PeerEnd): Promise<{ uri: string; reached: Promise<void> }> {
    let reach = () => {};
    const reached = new Promise<void>((resolve) => {
      reach = resolve;
    });
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      let seen = 0;
      socket.on("error", () => {});
      socket.on("end", () => reach());
      socket.on("data", (chunk) => {
        seen += chunk.length;
        if (then === "drain" || seen < bytes) return;
        if (then === "hang") socket.pause();
        else socket.destroy();
        reach();
      });
      if (bytes === 0) socket.destroy();
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return { uri: `unix:${path}`, reached };
  }

  close(): void {
    for (const server of this.#servers.splice(0)) server.close();
  }
}
