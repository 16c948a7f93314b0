#!/usr/bin/env bash
# Installs the programs that nobody here wrote and that the tests are run against: the official SDKs, chat network emulators and servers,
# a browser. Packages come from the registries that pip, npm and apt are set up for; what is there already stays.
# Prints one line of what is missing at the end and then exits 1: the tests skip what they do not find unless VERSO_PEERS=required.
set -uo pipefail
cd "$(dirname "$0")"

home=${VERSO_PEERS_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/verso/peers}
mkdir -p "$home"

missing=()
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  wanted=()
  while read -r program package; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || wanted+=("$package")
  done < <(grep -v '^#' debian.txt)
  if [ ${#wanted[@]} -gt 0 ]; then
    # Programs are wanted, not the services that some packages would start.
    apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
  fi
fi
while read -r program package; do
  command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=("$program ($package)")
done < <(grep -v '^#' debian.txt)

# A stamp of the wanted versions: an unchanged list costs nothing.
if command -v python3 >/dev/null && ! cmp -s python.txt "$home/python.txt"; then
  { [ -x "$home/venv/bin/python" ] || python3 -m venv "$home/venv"; } &&
    "$home/venv/bin/pip" install -q --disable-pip-version-check -r python.txt && cp python.txt "$home/python.txt"
fi
cmp -s python.txt "$home/python.txt" || missing+=('python packages')

if command -v npm >/dev/null && ! cmp -s package.json "$home/package.json.done"; then
  cp package.json "$home/package.json" &&
    npm install --prefix "$home" --no-audit --no-fund --no-package-lock --ignore-scripts --silent && cp package.json "$home/package.json.done"
fi
cmp -s package.json "$home/package.json.done" || missing+=('npm packages')

[ ${#missing[@]} -eq 0 ] || { printf 'missing peers: %s\n' "${missing[*]}" >&2; exit 1; }
