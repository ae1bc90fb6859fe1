import { expect, test } from "@jest/globals";
import { HumanMonitor } from "../../command/monitor/human-monitor.js";
import { commandTable } from "../../command/table.js";
import { fakeContext } from "../qmp/testing/fake-vm.js";
import { complete } from "./completion.js";

const monitor = new HumanMonitor(commandTable);

test.each([
  ["sto", ["stop "], "sto"],
  ["sys", ["system_powerdown", "system_reset"], "sys"],
  ["inf", ["info "], "inf"],
  ["info bl", ["block", "blockstats"], "bl"],
  ["info block ", [], ""],
  ["help inf", ["info "], "inf"],
  ["help info ver", ["version "], "ver"],
  ["set_link net0 o", ["off", "on"], "o"],
  ["stop ", [], ""],
  ["nope ", [], ""],
  ["info nope ", [], ""],
])("%j goes on with %j", (line, candidates, typed) => {
  expect(complete(monitor, fakeContext(), line)).toEqual([candidates, typed]);
});
