#!/bin/sh
# In the guest: waits for disks and network cards, uses them, and tells of it.
for word in $(cat /proc/cmdline); do
  case $word in plug.times=*) times=${word#*=} ;; esac
done
sum() { md5sum "$1" | cut -d' ' -f1; }
sectors() { cat "/sys/block/$1/size"; }
for disk in /sys/block/vd*; do found="$found ${disk##*/}=$(sectors "${disk##*/}")"; done
for card in /sys/class/net/eth*; do
  [ -e "$card" ] || continue
  ip link set "${card##*/}" up
  found="$found ${card##*/}=$(cat "$card/carrier")"
done
echo "FOUND$found UPTIME $(cut -d' ' -f1 /proc/uptime)"
[ "$times" = 0 ] && poweroff -f

i=0
while [ $i -lt "$times" ]; do
  i=$((i + 1))
  until [ "$(sectors vdb)" != 0 ]; do sleep 0.1; done
  mount -t ext4 /dev/vdb /mnt || echo "BAD mount"
  echo "DISK $i sectors=$(sectors vdb) serial=$(cat /sys/block/vdb/serial) given=$(sum /mnt/given)"
  head -c 2000000 /dev/urandom >/mnt/written.$i
  sync
  echo 3 >/proc/sys/vm/drop_caches
  echo "WRITTEN $i $(sum /mnt/written.$i)"
  umount /mnt || echo "BAD umount"
  echo "UNMOUNTED $i"
  until [ "$(sectors vdb)" = 0 ]; do sleep 0.1; done
  dd if=/dev/vdb of=/dev/null bs=512 count=1 2>/dev/null
  echo "GONE $i"
done

ip addr add 10.0.0.2/24 dev eth0
i=0
while [ $i -lt "$times" ]; do
  i=$((i + 1))
  until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done
  until ping -c 1 -W 1 10.0.0.1 >/dev/null; do :; done
  echo "PINGED $i"
  head -c 2000000 /dev/urandom >/tmp/data
  nc 10.0.0.1 5000 </tmp/data >/tmp/back
  echo "SENT $i $(sum /tmp/data) GOT $(sum /tmp/back)"
  until [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.1; done
  echo "CARRIER $i 0"
done
while :; do sleep 1; done
