#!/bin/sh
# In the guest: keeps every device busy for ever, tells each round that went well, and of what did not.
ip addr add 10.0.0.2/24 dev eth0
ip link set eth0 up

disk() {
  n=0
  while :; do
    n=$((n + 1)) at=$((n % 15 * 4))
    head -c 262144 /dev/urandom >/tmp/written
    dd if=/tmp/written of=/dev/vda bs=64k seek=$at conv=notrunc,fsync 2>/dev/null || echo "BATON BAD disk: write $n"
    echo 3 >/proc/sys/vm/drop_caches
    dd if=/dev/vda bs=64k skip=$at count=4 2>/dev/null | cmp -s - /tmp/written || echo "BATON BAD disk: round $n"
    echo "BUSY disk $n"
  done
}

card() {
  n=0
  while :; do
    ping -c 1 -W 5 10.0.0.1 >/dev/null && n=$((n + 1)) && echo "BUSY card $n"
    sleep 0.05
  done
}

entropy() {
  n=0
  while :; do
    [ "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)" -gt 0 ] || echo "BATON BAD entropy"
    n=$((n + 1))
    echo "BUSY entropy $n"
    sleep 0.05
  done
}

# Each line is the next number.
port() {
  n=0
  exec >/dev/hvc0
  stty -F /dev/hvc0 raw -echo
  while :; do
    n=$((n + 1))
    printf '%063d\n' $n
    sleep 0.02
  done
}

balloon() {
  n=0 was=
  while :; do
    while read -r name kib _; do [ "$name" = MemTotal: ] && total=$kib; done </proc/meminfo
    [ "$total" = "$was" ] || { n=$((n + 1)) && echo "BUSY balloon $n $total"; }
    was=$total
    sleep 0.1
  done
}

# A move ends a stream, to Linux in order: what came back until then is what was sent.
sockets() {
  n=0
  head -c 65536 /dev/urandom >/tmp/sent
  while :; do
    vsock connect 2 1024 </tmp/sent >/tmp/echoed 2>/dev/null
    size=$(wc -c </tmp/echoed)
    head -c $size /tmp/sent | cmp -s - /tmp/echoed || echo "BATON BAD sockets: $size bytes"
    [ $size = 65536 ] && n=$((n + 1)) && echo "BUSY sockets $n"
    sleep 0.05
  done
}

for device in disk card entropy port balloon sockets; do $device & done
