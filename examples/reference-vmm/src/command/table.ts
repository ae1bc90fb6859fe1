import { balloonCommands } from "./builtin/balloon.js";
import { blockCommands } from "./builtin/block.js";
import { blockdevCommands } from "./builtin/blockdev.js";
import { chardevCommands } from "./builtin/chardev.js";
import { cpuCommands } from "./builtin/cpus.js";
import { descriptorCommands } from "./builtin/descriptors.js";
import { deviceTreeCommands } from "./builtin/device-tree.js";
import { hotplugCommands } from "./builtin/hotplug.js";
import { humanMonitorCommands } from "./builtin/human-monitor.js";
import { iothreadCommands } from "./builtin/iothreads.js";
import { lifecycleCommands } from "./builtin/lifecycle.js";
import { memoryCommands } from "./builtin/memory.js";
import { migrationCommands } from "./builtin/migration.js";
import { negotiationCommands } from "./builtin/negotiation.js";
import { netdevCommands } from "./builtin/netdev.js";
import { networkCommands } from "./builtin/network.js";
import { selfDescriptionCommands } from "./builtin/self-description.js";
import { statisticsCommands } from "./builtin/statistics.js";
import { statusCommands } from "./builtin/status.js";
import { CommandTable } from "./command-table.js";

/** Every command there is, each once; all surfaces map to this table. */
export const commandTable: CommandTable = new CommandTable([
  ...negotiationCommands,
  ...lifecycleCommands,
  ...statusCommands,
  ...cpuCommands,
  ...blockCommands,
  ...blockdevCommands,
  ...networkCommands,
  ...netdevCommands,
  ...hotplugCommands,
  ...descriptorCommands,
  ...balloonCommands,
  ...chardevCommands,
  ...iothreadCommands,
  ...deviceTreeCommands,
  ...memoryCommands,
  ...migrationCommands,
  ...statisticsCommands,
  ...humanMonitorCommands,
  ...selfDescriptionCommands,
]);
