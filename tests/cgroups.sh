#!/usr/bin/env bash
# Holds a gateway's services to their limits by control groups of a real kernel, in an emulated machine whose groups are all of version 2:
# for root and for a user whom the group was given, each service has a group of its own, the kernel ends one for want of memory and nobody
# else, refuses it processes and holds it to its share of the processor, and what was given is given back. Then without such a group.
#
#   tests/cgroups.sh --kernel /boot/vmlinuz-… --binary target/debug/verso
#
# Needs qemu-system-x86_64, busybox (a static one) and setfattr, and a kernel that this user may read and that needs no module for a serial
# console and for control groups; it takes minutes. Without them it says so and ends with 0, or with 1 where VERSO_CGROUPS=required.
set -euo pipefail
cd "$(dirname "$0")/.."

kernel='' binary=target/debug/verso
while [ $# -gt 0 ]; do
  case "$1" in
    --kernel) kernel=${2:?a path}; shift 2 ;;
    --binary) binary=${2:?a path}; shift 2 ;;
    *) echo "unknown option: $1" >&2; exit 2 ;;
  esac
done

skip() {
  echo "skipped, no machine was emulated: $*"
  [ "${VERSO_CGROUPS:-}" != required ] || exit 1
  exit 0
}
for program in qemu-system-x86_64 busybox setfattr strip; do
  command -v "$program" >/dev/null || skip "there is no $program"
done
[ -n "$kernel" ] || kernel=$(find /boot -maxdepth 1 -name 'vmlinuz*' -readable 2>/dev/null | sort -V | tail -n 1)
[ -r "$kernel" ] || skip 'name a --kernel that can be read'
[ -x "$binary" ] || skip "there is no $binary; build it, or name another --binary"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp}
cp "$(command -v busybox)" "$(command -v setfattr)" "$root/bin/"
strip -o "$root/bin/verso" "$binary"
"$root/bin/busybox" --list | while read -r name; do [ -e "$root/bin/$name" ] || ln -s busybox "$root/bin/$name"; done
for program in "$binary" "$root/bin/setfattr"; do
  { ldd "$program" || true; } | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
done
printf 'root:x:0:0::/tmp:/bin/sh\nverso:x:1000:1000::/tmp:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nverso:x:1000:\n' >"$root/etc/group"

cat >"$root/init" <<'GUEST'
#!/bin/sh
export PATH=/bin HOME=/tmp NO_COLOR=1 VERSO_LOCAL_MODELS=off
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs -o mode=1777 none /tmp
mount -t cgroup2 none /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ip link set lo up
# The firmware leaves half a line.
echo
echo '+memory +cpu +pids' >/sys/fs/cgroup/cgroup.subtree_control

services='agent canvas channel edge node presence' group=/sys/fs/cgroup/verso.service
proves() { echo "ok    $who: $*"; }
fails() {
  echo "FAIL  $who: $*"
  cat "$state.log"
  for file in "$group"/*/cgroup.procs; do echo "$file:" $(cat "$file"); done
  poweroff -f
}
# Asks again and again whether a command succeeds, for half a minute.
becomes() {
  tries=0
  until "$@" >/dev/null 2>&1; do
    [ "$tries" -lt 150 ] || return 1
    tries=$((tries + 1))
    sleep 0.2
  done
}
value() { awk -v name="$2" '$1 == name { print $2 }' "$group/$1"; }
pid_of() { # a service, by what it was started as
  for pid in $(cat "$group/$1/cgroup.procs"); do
    [ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" != "/bin/verso service $1 " ] || echo "$pid"
  done
}
pids() { for name in $services; do echo "$name=$(pid_of "$name")"; done; }
gone() { ! kill -0 "$1"; }
serving() { [ "$(grep -c 'service serving' "$state.log")" -ge "$1" ]; }
# What follows runs in a service's group, as a tool of the service would.
within() { sh -c "echo 0 >$group/$1/cgroup.procs; $2" 2>/dev/null; }

start() {
  : >"$state.log"
  # As a service manager does it: into the group first, then another user.
  sh -c "echo 0 >$group/cgroup.procs && exec su -s /bin/sh -c 'exec verso gateway' $who" >"$state.log" 2>&1 &
  gateway=$!
  becomes serving 6 || fails 'not all services serve'
}
stop() {
  kill "$gateway"
  becomes gone "$gateway" || fails 'it did not stop'
}

share() { # of the processor, in per cent, that a loop in the agent's group has for five seconds
  sh -c "echo 0 >$group/agent/cgroup.procs; while :; do :; done" &
  loop=$!
  sleep 1
  before=$(value agent/cpu.stat usage_usec)
  sleep 5
  used=$((($(value agent/cpu.stat usage_usec) - before) / 50000))
  kill "$loop"
  wait "$loop" 2>/dev/null
}

proven_for() { # a user
  who=$1 state=/tmp/$1
  export VERSO_STATE_DIR="$state" VERSO_CONFIG_PATH="$state/verso.json"
  mkdir -m 700 "$state"
  budgets='{agent: {memorySoftMib: 100, memoryHardMib: 128, processes: 100, cpuPercent: 50}}'
  echo "{gateway: {mode: 'local', auth: {mode: 'token', token: 'test-token-0123456789'}, budgets: $budgets}}" >"$state/verso.json"
  chown -R "$who:$who" "$state"

  mkdir "$group"
  start
  grep -q 'no control group was given to us' "$state.log" || fails 'it does not say that it has no group'
  [ -z "$(find "$group" -mindepth 1 -type d)" ] || fails 'it divides what was not given to it'
  stop
  proves 'without a group of its own it says so, and serves'

  setfattr -n user.delegate -v 1 "$group"
  chown "$who" "$group" "$group/cgroup.procs" "$group/cgroup.threads" "$group/cgroup.subtree_control"
  start
  becomes grep -q . "$group/agent/cgroup.procs" || fails 'no group for the agent'
  [ "$(cat "$group/supervisor/cgroup.procs")" = "$gateway" ] || fails 'the supervisor is not in its own group'
  for name in $services; do
    [ "$(cat "$group/$name/cgroup.procs")" = "$(pid_of "$name")" ] || fails "what is in the group of $name is another process"
  done
  held=$(cd "$group/agent" && cat memory.max memory.oom.group cpu.max pids.max | tr '\n' ' ')
  [ "$held" = '134217728 1 50000 100000 100 ' ] || fails "limits of the agent: $held"
  proves "each has its own group: supervisor=$gateway" $(pids)

  share
  [ "$used" -ge 35 ] && [ "$used" -le 55 ] || fails "$used % of a processor instead of 50"
  [ "$(value agent/cpu.stat nr_throttled)" -gt 0 ] || fails 'nobody was held back'
  proves "a loop that may use 50 % of a processor uses $used %"

  within agent 'for i in $(seq 200); do sleep 600 & done'
  [ "$(cat "$group/agent/pids.current")" -le 100 ] && [ "$(value agent/pids.events max)" -gt 0 ] || fails 'no limit to its processes'
  proves "of 200 processes it gets no more than $(cat "$group/agent/pids.current") at once"
  killall sleep

  before=$(pids)
  agent=$(pid_of agent)
  within agent 'exec dd if=/dev/zero of=/dev/null bs=300M count=1'
  becomes gone "$agent" || fails 'the agent is still there'
  becomes serving 7 || fails 'the agent was not started again'
  becomes grep -q 'the kernel ended it for want of memory service=agent' "$state.log" || fails 'nobody says why'
  [ "$(echo "$before" | grep -v agent)" = "$(pids | grep -v agent)" ] || fails 'another one was restarted'
  su -s /bin/sh -c 'verso services list --json' "$who" </dev/null >"$state.list" 2>&1 || true
  grep -q 'signal 9 (the kernel ended it for want of memory)' "$state.list" || fails "the list does not say why: $(cat "$state.list")"
  proves "above its memory the agent alone is ended, with what it had started, and started again"

  # It leaves the process group of the service, and so would outlive it.
  within agent 'exec setsid sleep 600' &
  sleep 1
  stop
  [ -z "$(find "$group" -mindepth 1 -type d)" ] && [ -z "$(cat "$group/cgroup.subtree_control")" ] || fails 'the group is still divided'
  ! pidof verso sleep >/dev/null || fails 'something outlives it'
  start
  [ -d "$group/agent" ] || fails 'a group that was given back cannot be taken again'
  stop
  rmdir "$group" || fails 'something is left in the group'
  proves 'it leaves no process and no group behind'
}
proven_for root
proven_for verso
echo 'cgroups: all proven'
poweroff -f
GUEST
chmod 755 "$root/init"
(cd "$root" && find . | bin/busybox cpio -o -H newc -R 0:0) >"$work/initrd" 2>/dev/null

# The machine's clock counts its instructions, so nothing is late because this one is busy.
machine=(-machine accel=tcg -cpu max -smp 1 -m 2048 -icount shift=1,sleep=off -rtc clock=vm -nic none -nographic -no-reboot)
timeout 1800 qemu-system-x86_64 "${machine[@]}" -kernel "$kernel" -initrd "$work/initrd" \
  -append 'console=ttyS0 quiet panic=-1 cgroup_no_v1=all' </dev/null |
  sed -u 's/\r$//' | tee "$work/console" | grep --line-buffered -a '^ok\|^FAIL\|^cgroups' || true
grep -qa '^cgroups: all proven' "$work/console" || { cat "$work/console"; exit 1; }
