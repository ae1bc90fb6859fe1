import { readFileSync } from "node:fs";
import { createVm, serial } from "@baton/reference-vmm";

const CMDLINE = "console=ttyS0 reboot=t panic=-1 quiet";

const images = new Map();

/** A file's bytes, read once: reading 50 MB takes seconds here. */
function image(path) {
  if (!images.has(path)) images.set(path, readFileSync(path));
  return images.get(path);
}

/** A Linux guest of the testbed with its console output and events gathered. */
export class LinuxVm {
  output = "";
  events = [];
  #config;
  #waiters = [];

  constructor({ kernel = "bzImage", vcpus = 1, sizeMiB = 256, words = "", block, policy, devices = [] }) {
    this.#config = {
      memory: { sizeMiB, ...(block && { block }) },
      vcpus,
      boot: { kernel: image(kernel), initrd: image("initrd"), cmdline: `${CMDLINE} ${words}` },
      devices: [serial({ onOutput: (bytes) => this.#gather(Buffer.from(bytes).toString("latin1")) }), ...devices],
      ...(policy && { policy }),
    };
  }

  async create(incoming) {
    this.vm = await createVm(this.#config, incoming ? { incoming } : {});
    this.vm.onEvent((event) => {
      this.events.push(event);
      this.#wake();
    });
    return this;
  }

  #gather(text) {
    this.output += text;
    this.#wake();
  }

  #wake() {
    for (const waiter of this.#waiters) waiter();
  }

  /** Resolves when `condition` holds; it is asked after all output and every event. */
  until(condition, what, timeoutMs = 60_000) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => finish(new Error(`${what} did not come; console: ${this.output.slice(-600)}`)),
        timeoutMs,
      );
      const check = () => condition() && finish();
      const finish = (error) => {
        clearTimeout(timer);
        this.#waiters = this.#waiters.filter((waiter) => waiter !== check);
        if (error) reject(error);
        else resolve();
      };
      this.#waiters.push(check);
      check();
    });
  }

  /** The reports that the guest printed: its CPU count, memory and clocks. */
  reports() {
    return [...this.output.matchAll(/BATON cpus=(\d+) memkb=(\d+) time=(\d+) uptime=(\d+)/g)].map(
      ([, cpus, memkb, time, uptime]) => ({
        cpus: Number(cpus),
        memKiB: Number(memkb),
        timeNs: BigInt(time),
        uptime: Number(uptime),
      }),
    );
  }
}
