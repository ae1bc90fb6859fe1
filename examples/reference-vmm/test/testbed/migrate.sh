#!/bin/sh
# In the guest: keeps its processors, its disk, its card and its clocks busy, and tells what it finds.
for n in 1 2 3 4; do (while :; do sleep 0.02; : $((x = x + 1)); done) & done
ip addr add 10.0.0.2/24 dev eth0
ip link set eth0 up
mount -t ext4 /dev/vda /mnt || echo "BAD mount"
: >/tmp/log
: >/mnt/log
i=0
up=0
now=0
until [ -e /mnt/stop ]; do
  i=$((i + 1))
  was_up=$up
  was_now=$now
  read -r up _ </proc/uptime
  up=$(echo "$up" | tr -d .)
  now=$(date +%s)
  [ "$up" -ge "$was_up" ] || echo "BAD uptime $was_up $up"
  [ "$now" -ge "$was_now" ] || echo "BAD time $was_now $now"
  echo "line $i at $up" | tee -a /tmp/log >>/mnt/log
  sync
  echo 3 >/proc/sys/vm/drop_caches
  cmp -s /tmp/log /mnt/log || echo "BAD disk in step $i"
  until ping -c 1 -W 1 10.0.0.1 >/dev/null; do echo "LOST $i"; done
  echo "STEP $i up=$up time=$now"
done
