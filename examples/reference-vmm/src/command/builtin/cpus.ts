import { type CpuTopology, cpuPlace } from "@baton/core-kvm";
import { type Command, type CommandContext, defineCommand } from "../command.js";
import { vcpuPath } from "../qom-path.js";
import { arrayOf, bool, int, object, str } from "../schema.js";

const props = object({
  "socket-id": { type: int },
  "die-id": { type: int, optional: true, doc: "in topologies of several dies" },
  "core-id": { type: int },
  "thread-id": { type: int },
});

function propsOf(topology: CpuTopology, index: number) {
  const { socket, die, core, thread } = cpuPlace(topology, index);
  return { "core-id": core, "socket-id": socket, "thread-id": thread, ...(topology.dies > 1 && { "die-id": die }) };
}

const online = ({ vm }: CommandContext) =>
  vm.machine.vcpus.threads.map((thread, index) => ({
    index,
    tid: thread.tid,
    props: propsOf(vm.machine.topology, index),
  }));

/** What is known of the vCPUs. */
export const cpuCommands: readonly Command[] = [
  defineCommand({
    name: "query-cpus",
    doc: "The vCPUs that are online, with the threads that run them.",
    arguments: {},
    returns: arrayOf(
      object({
        CPU: { type: int, doc: "the vCPU's index" },
        arch: { type: str, doc: "always `x86`" },
        current: { type: bool, doc: "always true" },
        halted: { type: bool, doc: "always false: the kernel keeps halted vCPUs" },
        props: { type: props, doc: "its place in the topology" },
        qom_path: { type: str, doc: "its path in the device tree" },
        thread_id: { type: int, doc: "the id of its thread on the host" },
      }),
    ),
    handler: (context) =>
      online(context).map((cpu) => ({
        CPU: cpu.index,
        arch: "x86",
        current: true,
        halted: false,
        props: cpu.props,
        qom_path: vcpuPath(cpu.index),
        thread_id: cpu.tid,
      })),
  }),
  defineCommand({
    name: "query-cpus-fast",
    doc: "The same in the form of newer versions of QEMU.",
    monitor: {
      name: "info cpus",
      help: "show infos for each CPU",
      render: (cpus, state) =>
        cpus
          .map((cpu) => {
            const index = cpu["cpu-index"];
            return `${index === state.cpu ? "*" : " "} CPU #${index}: thread_id=${cpu["thread-id"]}\n`;
          })
          .join(""),
    },
    arguments: {},
    returns: arrayOf(
      object({
        "cpu-index": { type: int, doc: "the vCPU's index" },
        "qom-path": { type: str, doc: "its path in the device tree" },
        "thread-id": { type: int, doc: "the id of its thread on the host" },
        props: { type: props, doc: "its place in the topology" },
        target: { type: str, doc: "always `x86_64`" },
      }),
    ),
    handler: (context) =>
      online(context).map((cpu) => ({
        "cpu-index": cpu.index,
        "qom-path": vcpuPath(cpu.index),
        "thread-id": cpu.tid,
        props: cpu.props,
        target: "x86_64",
      })),
  }),
  defineCommand({
    name: "query-hotpluggable-cpus",
    doc: "All places for vCPUs; those that are online have a `qom-path`.",
    arguments: {},
    returns: arrayOf(
      object({
        props: { type: props, doc: "the place in the topology" },
        "qom-path": { type: str, optional: true, doc: "the online vCPU's path in the device tree" },
        type: { type: str, doc: "always `host-x86-cpu`" },
        "vcpus-count": { type: int, doc: "always 1" },
      }),
    ),
    handler: ({ vm }) => {
      const { topology, vcpus } = vm.machine;
      const { sockets, dies, cores, threads } = topology;
      return Array.from({ length: sockets * dies * cores * threads }, (_, index) => ({
        props: propsOf(topology, index),
        ...(index < vcpus.threads.length && { "qom-path": vcpuPath(index) }),
        type: "host-x86-cpu",
        "vcpus-count": 1,
      }));
    },
  }),
];
