#!/bin/sh
# The first process of the testbed: prepares the machine, runs the payload, reports, powers off.
export PATH=/bin:/sbin HOME=/root TERM=dumb NO_COLOR=1 TMPDIR=/tmp BATON_TESTBED=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/hugepages /tmp /root /test /run
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t hugetlbfs hugetlbfs /dev/hugepages
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
dmesg -n 1
ip link set lo up
hostname testbed

# A sign of life that does not depend on what the payload prints.
stty -F /dev/ttyS1 raw -echo
(while :; do echo; sleep 2; done) >/dev/ttyS1 2>&1 &

# load-modules NAME...: loads modules and all that they depend on (/modules/order: a line per module, dependencies first).
cat >/bin/load-modules <<'SCRIPT'
#!/bin/sh
for wanted; do
  line=$(grep "^$wanted:" /modules/order) || { echo "no module $wanted in the testbed" >&2; exit 1; }
  for name in ${line#*:} $wanted; do
    grep -q "^$name " /proc/modules || insmod /modules/$name.ko || exit 1
  done
done
SCRIPT
chmod +x /bin/load-modules
for name in $(cat /modules/default); do
  insmod /modules/$name.ko || echo "testbed: module $name does not load"
done
for word in $(cat /proc/cmdline); do
  case $word in
    baton.modules=*) load-modules $(echo "${word#*=}" | tr , ' ') ;;
  esac
done
# A booted testbed may be saved here. It goes on once its disks are others, in the process that restores it.
if grep -q baton.save /proc/cmdline; then
  echo "SAVE POINT"
  while [ "$(head -c 4 /dev/vda)" = WAIT ]; do sleep 0.05; done
  hwclock -s -u
fi
cd /
# The results disk tells at its start how many blocks of 64 KiB the payload has: tar would read its disk to the end.
read -r blocks </dev/vdb
dd if=/dev/vda bs=64k count="$blocks" 2>/dev/null | tar x || echo "testbed: the payload does not unpack"
dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>/dev/null
cat /test/.testbed/seed >/dev/urandom
cd /test
echo "TESTBED READY $(cut -d' ' -f1 /proc/uptime)"
sh /test/.testbed/run </dev/null
rc=$?
cd /test
# Only what exists is collected; the runner says what is absent.
set --
while IFS= read -r path; do
  [ -e "$path" ] && set -- "$@" "$path"
done </test/.testbed/artefacts
if [ $# -gt 0 ]; then
  tar c -f /dev/vdb "$@" 2>/run/tar-errors || { cat /run/tar-errors; echo "testbed: the results do not fit"; }
fi
sync
echo "DONE rc $rc"
poweroff -f
