#!/bin/sh
# In the guest: an agent on its virtio serial port, and an echo on the virtio console.
device=
# Ports come, and get their names, some time after the driver.
until [ -c "$device" ] && [ -c /dev/hvc0 ]; do
  for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] && device=/dev/${port##*/}
  done
  sleep 0.1
done
echo "AGENT ON $device"
(
  exec 4<>/dev/hvc0
  stty raw -echo <&4
  while read -r line <&4; do
    case $line in
      size) stty size <&4 >&4 ;;
      *) echo "echo: $line" >&4 ;;
    esac
  done
) &
exec 3<>"$device"
while :; do
  # Without a peer a read ends at once.
  read -r request <&3 || { sleep 0.1; continue; }
  case $request in
    *guest-ping*) echo '{"return": {}}' >&3 ;;
    *guest-stream*) awk 'BEGIN { for (i = 0; i < 8192; i++) printf "%063d\n", i; print "END" }' >&3 ;;
    *guest-sum*)
      echo GO >&3
      bytes=${request##*: }
      sum=$(head -c "${bytes%\}}" <&3 | md5sum)
      echo "SUM ${sum%% *}" >&3
      ;;
    *guest-reopen*)
      exec 3<&-
      exec 3<>"$device"
      echo "OPEN AGAIN" >&3
      ;;
    *guest-shutdown*) exit 0 ;;
  esac
done
