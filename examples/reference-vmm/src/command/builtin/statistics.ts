import type { StatisticFamily, StatisticSubject } from "../../statistics/family.js";
import { statisticTargets } from "../../statistics/family.js";
import { sampleStatistics } from "../../statistics/sample.js";
import { statisticTable } from "../../statistics/table.js";
import { type Command, defineCommand } from "../command.js";
import { devicePath, vcpuPath } from "../qom-path.js";
import { arrayOf, int, object, oneOf, str } from "../schema.js";

const target = oneOf(...statisticTargets);
const provider = oneOf("baton");
const providerDoc = "always `baton`: what KVM counts by itself is not shown";

function pathOf({ target, id }: StatisticSubject): string | undefined {
  if (target === "vm") return undefined;
  return target === "vcpu" ? vcpuPath(Number(id)) : devicePath(id);
}

/** Type and unit in the words of QEMU's `StatsSchemaValue`. */
function schemaOf({ kind, unit }: StatisticFamily) {
  if (unit === "bytes") return { type: kind, unit: "bytes" as const };
  if (unit === "nanoseconds") return { type: kind, unit: "seconds" as const, base: 10, exponent: -9 };
  return { type: kind, exponent: 0 };
}

/** What the VM, its vCPUs and devices have done so far. */
export const statisticsCommands: readonly Command[] = [
  defineCommand({
    name: "query-stats",
    doc: "What the VM, its vCPUs, disks or network cards have done so far; the guest runs on meanwhile.",
    arguments: {
      target: { type: target, doc: "`vm` and `vcpu` are QEMU's, the others Baton's own" },
      vcpus: { type: arrayOf(str), optional: true, doc: "for `vcpu`: the paths of those that are asked for" },
      providers: {
        type: arrayOf(
          object({
            provider: { type: provider },
            names: { type: arrayOf(str), optional: true, doc: "the statistics that are asked for; all without it" },
          }),
        ),
        optional: true,
        doc: "whose statistics, and which",
      },
    },
    returns: arrayOf(
      object({
        provider: { type: provider, doc: providerDoc },
        "qom-path": { type: str, optional: true, doc: "which vCPU or device" },
        stats: {
          type: arrayOf(object({ name: { type: str }, value: { type: int } })),
          doc: "in the order of `query-stats-schemas`",
        },
      }),
    ),
    async handler({ vm }, { target, vcpus, providers }) {
      const chosen = providers?.map(({ names }) => names);
      const wanted = (name: string) => chosen?.some((names) => names === undefined || names.includes(name)) ?? true;
      const subjects = await sampleStatistics(vm, [target]);
      return subjects
        .map((subject) => ({ path: pathOf(subject), values: Object.entries(subject.values) }))
        .filter(({ path }) => vcpus === undefined || (path !== undefined && vcpus.includes(path)))
        .map(({ path, values }) => ({
          provider: "baton" as const,
          ...(path !== undefined && { "qom-path": path }),
          stats: values.filter(([name]) => wanted(name)).map(([name, value]) => ({ name, value })),
        }))
        .filter(({ stats }) => stats.length > 0);
    },
  }),
  defineCommand({
    name: "query-stats-schemas",
    doc: "What `query-stats` measures, with types and units.",
    arguments: { provider: { type: provider, optional: true, doc: "whose statistics" } },
    returns: arrayOf(
      object({
        provider: { type: provider, doc: providerDoc },
        target: { type: target, doc: "what they are of" },
        stats: {
          type: arrayOf(
            object({
              name: { type: str },
              type: { type: oneOf("cumulative", "instant"), doc: "whether it only grows, or is how things stand" },
              unit: { type: oneOf("bytes", "seconds"), optional: true, doc: "a plain count without it" },
              base: { type: int, optional: true, doc: "of the exponent: 10" },
              exponent: { type: int, optional: true, doc: "the unit's power: -9 for nanoseconds" },
            }),
          ),
        },
      }),
    ),
    handler: () =>
      statisticTargets.map((target) => ({
        provider: "baton" as const,
        target,
        stats: statisticTable
          .filter((family) => family.target === target)
          .flatMap((family) => Object.keys(family.statistics).map((name) => ({ name, ...schemaOf(family) }))),
      })),
  }),
];
