import { benchBlock } from "./block.js";
import { benchDirect } from "./direct.js";
import { benchExits } from "./exits.js";
import { benchFootprint } from "./footprint.js";
import { benchKick } from "./kick.js";
import { benchNet } from "./net.js";
import { benchStart } from "./start.js";
import { benchStream } from "./stream.js";
import { benchVmstate } from "./vmstate.js";

const benches = {
  footprint: benchFootprint,
  exits: benchExits,
  kick: benchKick,
  start: benchStart,
  block: benchBlock,
  direct: benchDirect,
  net: benchNet,
  vmstate: benchVmstate,
  stream: benchStream,
};

/** Runs the benchmarks named on the command line, or all, and prints their tables. */
for (const [name, bench] of Object.entries(benches)) {
  if (process.argv.length > 2 && !process.argv.includes(name)) continue;
  process.stdout.write(`## ${name}\n\n${await bench()}\n\n`);
}
process.stdout.write("", () => process.exit());
