#!/bin/sh
# In the guest: tells of its entropy source and its memory, and talks to the host through sockets.
for word in $(cat /proc/cmdline); do
  case $word in
    dev.mb=*) mb=${word#*=} ;;
    dev.role=*) role=${word#*=} ;;
    dev.balloon=*) balloon=${word#*=} ;;
    dev.spare=*) spare=${word#*=} ;;
  esac
done
sum() { md5sum "$1" | cut -d' ' -f1; }

if [ "$role" = first ]; then
  echo "RNG $(cat /sys/class/misc/hw_random/rng_current) $(head -c 32 /dev/hwrng | hexdump -v -e '/1 "%02x"')"
fi

head -c $((mb * 1048576)) /dev/urandom >/tmp/out
echo "OUT $(sum /tmp/out)"
# The host's bytes, while the guest's go the other way.
vsock listen 52 </tmp/out >/tmp/in
echo "IN rc=$? $(sum /tmp/in)"
head -c 1000000 /tmp/in | vsock connect 2 1024 >/tmp/back
echo "BACK rc=$? $(sum /tmp/back)"
memory() { while read -r name kib _; do [ "$name" = "$1:" ] && echo "$kib"; done </proc/meminfo; }

if [ "$role" = first ]; then
  total=$(memory MemTotal)
  echo "MEM $total KiB"
  until [ "$(memory MemTotal)" -le $((total - balloon * 1024)) ]; do sleep 0.1; done
  echo "MEM $(memory MemTotal) KiB"
  until [ "$(memory MemTotal)" = "$total" ]; do sleep 0.1; done
  # Uses what came back.
  dd if=/dev/zero of=/tmp/fill bs=1M count=$(($(memory MemFree) / 1024 - spare)) 2>/dev/null
  echo "FILLED"
else
  # This one is open when the machine moves.
  mkfifo /tmp/silence
  vsock connect 2 1025 <>/tmp/silence
  echo "BROKEN rc=$?"
  echo again | vsock connect 2 1026
  echo "AGAIN rc=$?"
fi
