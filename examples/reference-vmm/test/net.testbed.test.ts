import { readFileSync } from "node:fs";
import { ensureLinuxGuest, type RunResult, runInTestbed } from "@baton/testbed";
import { beforeAll, describe } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import { expectTap, linuxFiles, printNotes, programFiles, setUpMs } from "./support/testbed.js";

/** A guest of the pair: its words on the command line say which. */
const SCRIPT = `#!/bin/sh
for word in $(cat /proc/cmdline); do
  case $word in
    net.ip=*) ip=\${word#*=} ;;
    net.peer=*) peer=\${word#*=} ;;
    net.role=*) role=\${word#*=} ;;
    net.mb=*) mb=\${word#*=} ;;
  esac
done
ip addr add $ip/24 dev eth0
ip link set eth0 up
sum() { sha256sum <$1 | cut -d' ' -f1; }
ping_peer() { until ping -c 1 -W 1 $peer >/dev/null; do :; done; }
send() { (sleep 0.3; echo NET SENDING) & until nc $peer 5000 <$1; do sleep 0.2; done; }
receive() { nc -l -p 5000 >$1; echo NET GOT $(sum $1); }
if [ $role = 0 ]; then
  receive /tmp/data
  send /tmp/data
else
  ping_peer
  echo NET PINGED
  head -c $((mb * 1048576)) /dev/urandom >/tmp/data
  echo NET HAS $(sum /tmp/data)
  send /tmp/data
  receive /tmp/back
fi
carrier=/sys/class/net/eth0/carrier
while [ $(cat $carrier) = 1 ]; do sleep 0.1; done
echo NET CARRIER 0
until [ $(cat $carrier) = 1 ]; do sleep 0.1; done
ping_peer
echo NET PINGED AGAIN
while :; do sleep 1; done
`;

/** Busybox has none that makes taps. */
const IP = "/usr/sbin/ip";

/** A block of commands of the page. */
function commands(name: string): string {
  const page = readFileSync(new URL("../../../docs/devices/net.md", import.meta.url), "utf8");
  const block = new RegExp(`<!-- network: ${name} -->\\s+\`\`\`sh\\n([^\`]*)\`\`\``).exec(page)?.[1];
  if (block === undefined) throw new Error(`docs/devices/net.md has no commands for ${name}`);
  return block;
}

describe("network cards of Linux guests", () => {
  const megabytes = rounds({ quick: 8, full: 100 });
  const timeoutMs = 300_000 + megabytes * 40_000;
  let result: RunResult;
  beforeAll(async () => {
    const guest = await ensureLinuxGuest({ files: { script: SCRIPT } });
    result = await runInTestbed({
      files: [...linuxFiles(guest, "net.mjs"), ...programFiles(IP)],
      command: "load-modules bridge && node net.mjs",
      env: { MEGABYTES: String(megabytes), NETWORK_BRCTL: commands("brctl"), NETWORK_IP: commands("ip") },
      timeoutMs,
      silenceMs: timeoutMs,
    });
    printNotes(result);
  }, setUpMs(timeoutMs));

  expectTap(
    [
      "brctl and tunctl make the network that ip makes",
      "two guests ping each other, one of them with vhost-net",
      `${megabytes} MB reach the guest with vhost-net, which moves meanwhile`,
      `${megabytes} MB reach the guest with packets through this process, which moves meanwhile`,
      "a guest sees that its cable is out, and in again",
    ],
    () => result,
  );
});
