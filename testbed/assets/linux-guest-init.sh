#!/bin/sh
# The first process of the Linux guest. What it does is chosen on the kernel's command line (guests/README.md).
export PATH=/bin:/sbin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /tmp /root /mnt
mount -t devpts devpts /dev/pts
mount -t tmpfs -o size=90% tmpfs /tmp
ip link set lo up

test=report then=poweroff modules= root= count=3 interval=0.1 load_kib=256 load_files=8
for word in $(cat /proc/cmdline); do
  case $word in
    baton.test=*) test=${word#*=} ;;
    baton.then=*) then=${word#*=} ;;
    baton.modules=*) modules=${word#*=} ;;
    baton.root=*) root=${word#*=} ;;
    baton.count=*) count=${word#*=} ;;
    baton.interval=*) interval=${word#*=} ;;
    baton.load-kib=*) load_kib=${word#*=} ;;
    baton.load-files=*) load_files=${word#*=} ;;
  esac
done

cat >/bin/load-modules <<'SCRIPT'
#!/bin/sh
# load-modules NAME...: loads modules and all that they depend on (/modules/order: a line per module).
for wanted; do
  line=$(grep "^$wanted:" /modules/order) || { echo "BATON BAD no module $wanted"; exit 1; }
  for name in ${line#*:} $wanted; do
    grep -q "^$name " /proc/modules || insmod /modules/$name.ko || { echo "BATON BAD module $name does not load"; exit 1; }
  done
done
SCRIPT
chmod +x /bin/load-modules
[ -n "$modules" ] && load-modules $(echo "$modules" | tr , ' ')

if [ -n "$root" ]; then
  mount -t ext4 -o rw "$root" /mnt || { echo "BATON BAD $root cannot be mounted"; poweroff -f; }
  for place in dev proc sys; do mount -o move /$place /mnt/$place; done
  exec switch_root /mnt /sbin/init </mnt/dev/console >/mnt/dev/console 2>&1
fi

cpus=$(grep -c ^processor /proc/cpuinfo)

# Time without a fork: $up in hundredths of a second since the start, $time in microseconds since 1970.
now() {
  read up rest </proc/uptime
  up=${up%.*}${up#*.}
  up=${up#0}; up=${up#0}; up=${up:-0}
  time=$EPOCHREALTIME
  time=${time%.*}${time#*.}
}

report() {
  i=0 last_up=0 last_time=0
  while [ $i -lt $count ]; do
    now
    read _ memkb _ </proc/meminfo
    echo "BATON cpus=$cpus memkb=$memkb time=${time}000 uptime=$up n=$i"
    [ $up -lt $last_up ] && echo "BATON BAD uptime went back from $last_up to $up"
    [ $time -lt $last_time ] && echo "BATON BAD time went back from $last_time to $time"
    last_up=$up last_time=$time
    i=$((i + 1))
    sleep $interval
  done
}

# Keeps one CPU and some memory busy for ever: copies files around, checks their sums, tells each tenth of a second.
load_cpu() {
  cpu=$1 n=0 last_up=0 last_time=0 told=0 round=0
  mkdir -p /tmp/load$cpu
  cd /tmp/load$cpu
  f=0
  while [ $f -lt $load_files ]; do
    head -c $((load_kib * 1024)) /dev/urandom >file$f
    sum=$(md5sum <file$f)
    eval sum$f='${sum%% *}'
    f=$((f + 1))
  done
  while :; do
    f=$((round % load_files))
    cp file$f copy && mv copy file$f
    sum=$(md5sum <file$f)
    eval expected=\$sum$f
    [ "${sum%% *}" = "$expected" ] || echo "BATON BAD cpu=$cpu file=$f sum=${sum%% *} expected=$expected"
    round=$((round + 1))
    now
    [ $up -lt $last_up ] && echo "BATON BAD cpu=$cpu uptime went back from $last_up to $up"
    [ $time -lt $last_time ] && echo "BATON BAD cpu=$cpu time went back from $last_time to $time"
    last_up=$up last_time=$time
    if [ $((up - told)) -ge 10 ]; then
      n=$((n + 1)) told=$up
      echo "BATON TICK cpu=$cpu n=$n uptime=$up round=$round"
    fi
  done
}

case $test in
  report) report ;;
  script) sh /script; echo "BATON SCRIPT rc=$?" ;;
  none) ;;
  *) echo "BATON BAD unknown baton.test=$test" ;;
esac

echo "BATON THEN $then"
case $then in
  poweroff) poweroff -f ;;
  reboot) reboot -f ;;
  panic) echo c >/proc/sysrq-trigger ;;
  shell) while :; do setsid cttyhack sh; done ;;
  load)
    cpu=0
    while [ $cpu -lt $cpus ]; do
      (taskset -p $((1 << cpu)) $(sh -c 'echo $PPID') >/dev/null 2>&1; load_cpu $cpu) &
      cpu=$((cpu + 1))
    done
    ;;
  wait) ;;
  *) echo "BATON BAD unknown baton.then=$then" ;;
esac
while :; do sleep 3600; done
