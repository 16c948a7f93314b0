#!/usr/bin/env bash
# Runs what deploy/compose*.yaml describe in a container engine: every service comes up without rights, the command line is paired and
# answered, an operator stays connected while each service is replaced and killed, a change of the configuration restarts the one that it
# is for, a rescue gateway runs beside the first, and all of it stops by itself. Ends only what it started; keys in deploy/*.env stay unused.
#
#   tests/containers.sh                      # the image verso:local, or $VERSO_IMAGE
#   tests/containers.sh --binary PATH        # an image of this static binary, which is removed again
#
# Without an engine it says so and ends with 0, or with 1 where VERSO_CONTAINERS=required.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${VERSO_IMAGE:-verso:local} binary=''
while [ $# -gt 0 ]; do
  case "$1" in
    --binary) binary=${2:?a path}; shift 2 ;;
    *) echo "unknown option: $1" >&2; exit 2 ;;
  esac
done

skip() {
  echo "skipped, no container was run: $*"
  [ "${VERSO_CONTAINERS:-}" != required ] || exit 1
  exit 0
}
command -v docker >/dev/null || skip 'there is no docker command'
command -v python3 >/dev/null || skip 'there is no python3'
version=$(docker compose version --short 2>/dev/null) || skip 'docker has no compose plugin'
# Since 2.24.4, an override may replace a list.
[ "$(printf '%s\n' 2.24.4 "${version#v}" | sort -V | head -n 1)" = 2.24.4 ] || skip "docker compose $version is older than 2.24.4"
docker info >/dev/null 2>&1 || skip 'no engine answers'
if [ -z "$binary" ]; then
  docker image inspect "$image" >/dev/null 2>&1 || skip "there is no image $image; make one with deploy/image.sh, or name a static --binary"
fi

work=$(mktemp -d)
project=verso-proof-$$ client=''
rescue() { docker compose --progress quiet -p "$project-rescue" -f "$work/deploy/compose.yaml" -f "$work/deploy/compose.rescue.yaml" "$@"; }
compose() { docker compose --progress quiet -p "$project" -f "$work/deploy/compose.yaml" "$@"; }
single() { docker compose --progress quiet -p "$project-single" -f "$work/deploy/compose.single.yaml" "$@"; }
leave() {
  status=$?
  trap - EXIT
  [ -z "$client" ] || kill "$client" 2>/dev/null || true
  if [ "$status" != 0 ]; then
    compose ps -a || true
    compose logs --tail 30 || true
    cat "$work/client" "$work/client.error" 2>/dev/null || true
  fi
  for one in rescue compose single; do "$one" --profile cli down -v -t 5 >/dev/null 2>&1 || true; done
  [ -z "$binary" ] || docker image rm "$image" >/dev/null 2>&1 || true
  rm -rf "$work"
  exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

proves() { echo "ok    $*"; }
fails() { echo "FAIL  $*" >&2; exit 1; }
# Runs a command silently, unless it fails.
quiet() { "$@" >"$work/out" 2>"$work/error" </dev/null || { cat "$work/out" "$work/error" >&2; fails "$*"; }; }
# Asks again and again whether a command succeeds, for half a minute.
becomes() {
  local until=$((SECONDS + 30))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.3
  done
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
ready() { python3 -c 'import sys, urllib.request as web; web.urlopen("http://127.0.0.1:" + sys.argv[1] + "/readyz", timeout=5)' "$1"; }
status_of() { docker inspect "$(compose ps -aq "$1")" -f "$2"; }

# A copy: the files beside it with keys of models and networks are not for this.
mkdir "$work/deploy"
cp -r deploy/compose*.yaml deploy/observability deploy/prometheus deploy/dashboards "$work/deploy/"
if [ -n "$binary" ]; then
  image=verso:proof-$$
  quiet deploy/image.sh --binary "$binary" --tag "$image" --out "$work/image.tar"
  quiet docker load -i "$work/image.tar"
  rm "$work/image.tar"
  proves "the archive of deploy/image.sh loads as $image"
fi
seed=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
VERSO_GATEWAY_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
VERSO_GATEWAY_PORT=$(free_port) VERSO_RESCUE_PORT=$(free_port)
export VERSO_IMAGE=$image VERSO_GATEWAY_TOKEN VERSO_GATEWAY_PORT VERSO_RESCUE_PORT

for one in compose rescue single; do
  quiet "$one" config
  quiet "$one" --profile cli --profile observability config
done
(unset VERSO_GATEWAY_TOKEN; ! compose config >/dev/null 2>&1) || fails 'a gateway without a secret'
proves 'the files can be read, in every combination, and none works without a secret'

services='edge presence node channel agent canvas' others='agent channel presence node canvas'
# shellcheck disable=SC2086
quiet compose up -d --wait $services
proves "all are healthy: $services"
[ "$(status_of certificates '{{.State.ExitCode}}')" = 0 ] || fails 'certificates'
rights='{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}'
for service in $services; do
  had=$(status_of "$service" "$rights")
  [ "$had" = '1000:1000 true [ALL] [no-new-privileges:true] false' ] || fails "$service has rights: $had"
done
proves 'nobody is root, may write to the image or gain rights'
volumes='{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}}{{if .RW}}:rw{{end}} {{end}}{{end}}'
for service in certificates $services; do
  for volume in $(status_of "$service" "$volumes"); do
    case "$service ${volume#"$project"_}" in
      "certificates authority:rw" | "certificates tls-"*:rw) ;;
      "edge config:rw" | "$service config" | "$service $service:rw" | "$service tls-$service") ;;
      *) fails "$service has $volume" ;;
    esac
  done
done
proves 'each has its own volumes alone, and nobody leaves one without a name behind'

cli() { compose run --rm --no-deps -T cli "$@"; }
quiet cli status
grep -q reachable "$work/out" || fails "cli status: $(cat "$work/out")"
quiet cli agent --message hello
[ -s "$work/out" ] || fails 'a turn without an answer'
proves 'the command line beside the edge is paired without a question, and a turn is answered'

ready "$VERSO_GATEWAY_PORT" || fails 'the published port'
operator() { exec python3 tests/containers.py "$1" "$VERSO_GATEWAY_TOKEN" "$seed"; }
# Connects an operator from outside, whom a command approves first.
connect() { # port, command
  local port=$1
  shift
  (operator "$port") >"$work/client" || true
  quiet "$@" devices approve "$(awk '$1 == "pairing" { print $2 }' "$work/client")"
  (operator "$port") >"$work/client" 2>"$work/client.error" &
  client=$!
  becomes grep -q connected "$work/client" || fails 'an approved operator'
}
# Tells the operator to end; he says what he has seen.
disconnect() {
  kill "$client" 2>/dev/null || true
  wait "$client" || fails 'the operator'
  client=''
  proves "$(tail -n 1 "$work/client")"
}
connect "$VERSO_GATEWAY_PORT" cli
proves 'an operator from outside is let in once he is approved'
for service in $others; do
  quiet compose up -d --no-deps --force-recreate --wait "$service"
done
proves "replaced one after the other: $others"
for service in $others; do
  quiet docker kill "$(compose ps -q "$service")"
  quiet compose up -d --no-deps --wait "$service"
done
proves "killed and started one after the other: $others"
quiet cli config set canvasHost.root /data/state/elsewhere
restarted() { [ "$(status_of canvas '{{.RestartCount}}')" = 1 ] && [ "$(status_of canvas '{{.State.Health.Status}}')" = healthy ]; }
becomes restarted || fails 'a changed folder of the canvas'
proves 'a change of the configuration restarts the one that it is for'
disconnect

# shellcheck disable=SC2086
quiet rescue up -d --wait $services
for port in "$VERSO_RESCUE_PORT" "$VERSO_GATEWAY_PORT"; do ready "$port" || fails "two gateways: port $port"; done
quiet rescue run --rm --no-deps -T cli status
proves 'a rescue gateway runs beside the first'
quiet rescue --profile cli down -v

# What is killed after the time for stopping ends with 137.
stops() { # compose command, services
  local all=$1 service
  shift
  SECONDS=0
  quiet "$all" stop
  [ "$SECONDS" -lt 10 ] || fails "$all took $SECONDS s to stop"
  for service in "$@"; do
    [ "$(docker inspect "$("$all" ps -aq "$service")" -f '{{.State.ExitCode}}')" = 0 ] || fails "$service did not end by itself"
  done
  quiet "$all" --profile cli down -v
  proves "$all ended by itself: $*"
}
# shellcheck disable=SC2086
stops compose $services

quiet single up -d --wait
gateway() { single exec -T verso /verso "$@"; }
quiet gateway agent --message hello
connect "$VERSO_GATEWAY_PORT" gateway
proves 'one container that supervises itself answers'
disconnect
stops single verso
echo 'containers: all proven'
