#!/usr/bin/env bash
# Makes the image of deploy/Dockerfile from a binary that is built here, without a registry and without a container engine. The archive is read by
# `docker load`, `podman load` and `skopeo copy oci-archive:…`. The same binary gives the same archive, byte for byte.
#
#   deploy/image.sh [--arch amd64|arm64] [--binary PATH] [--tag verso:local] [--out verso-image.tar]
set -euo pipefail
# Whoever runs this: what is not the service's own can be read by it.
umask 022
cd "$(dirname "$0")/.."

arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/') binary='' tag=verso:local out=verso-image.tar
while [ $# -gt 0 ]; do
  case "$1" in
    --arch) arch=$2 ;;
    --binary) binary=$2 ;;
    --tag) tag=$2 ;;
    --out) out=$2 ;;
    *) echo "unknown option: $1" >&2; exit 2 ;;
  esac
  shift 2
done
case "$arch" in
  amd64) target=x86_64-unknown-linux-gnu ;;
  arm64) target=aarch64-unknown-linux-gnu ;;
  *) echo "no recipe for $arch" >&2; exit 2 ;;
esac

if [ -z "$binary" ]; then
  # An executable for the other processor needs its C compiler, such as Debian's gcc-aarch64-linux-gnu.
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}
  [ "$arch" = "$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')" ] && unset CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER
  export CARGO_INCREMENTAL=0 SOURCE_DATE_EPOCH=0
  RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD=verso --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo" \
    cargo build --locked --profile dist --package verso --target "$target"
  binary=${CARGO_TARGET_DIR:-target}/$target/dist/verso
fi
# The image has no loader.
if LC_ALL=C grep -aq '/lib[^ ]*/ld-linux' "$binary"; then
  echo "$binary needs a dynamic loader; build it with -C target-feature=+crt-static" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
system=$work/system own=$work/own blobs=$work/image/blobs/sha256
mkdir -p "$system/etc/ssl/certs" "$system/usr/share" "$system/run" "$system/tmp" "$own/data" "$own/config" "$own/run/verso" "$own/tls" "$blobs"
install -m 0755 "$binary" "$system/verso"
roots=${VERSO_IMAGE_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}
[ -f "$roots" ] || { echo "$roots is missing: it holds the TLS roots" >&2; exit 1; }
install -m 0644 "$roots" "$system/etc/ssl/certs/ca-certificates.crt"
if [ -d /usr/share/zoneinfo ]; then cp -RL /usr/share/zoneinfo "$system/usr/share/"; fi
chmod 1777 "$system/tmp"
for service in ca supervisor edge presence node channel agent canvas; do mkdir "$own/tls/$service"; done
chmod -R 0700 "$own/data" "$own/config" "$own/tls" "$own/run/verso"

# Prints the digest of what it has stored.
store() { local digest; digest=$(sha256sum "$1" | cut -d' ' -f1); mv "$1" "$blobs/$digest"; echo "$digest"; }
layer() { # folder, user, what of it
  tar --sort=name --mtime=@0 --owner="$2" --group="$2" --numeric-owner --format=gnu -C "$1" -cf "$work/layer" "${@:3}"
  store "$work/layer"
}
system_layer=$(layer "$system" 0 .)
# By name: the folders around them stay root's.
own_layer=$(layer "$own" 1000 config data run/verso tls)
size() { wc -c < "$blobs/$1" | tr -d ' '; }

printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{"User":"1000:1000","Env":["HOME=/data","VERSO_STATE_DIR=/data/state","VERSO_RUN_DIR=/run/verso"],"Entrypoint":["/verso"],"Cmd":["gateway","--bind","lan","--allow-unconfigured"],"ExposedPorts":{"18789/tcp":{},"18793/tcp":{}},"Volumes":{"/data":{}},"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s","sha256:%s"]}}' \
  "$arch" "$system_layer" "$own_layer" > "$work/config"
config=$(store "$work/config")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
  "$config" "$(size "$config")" "$system_layer" "$(size "$system_layer")" "$own_layer" "$(size "$own_layer")" > "$work/manifest"
manifest=$(store "$work/manifest")
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"platform":{"architecture":"%s","os":"linux"},"annotations":{"io.containerd.image.name":"docker.io/library/%s","org.opencontainers.image.ref.name":"%s"}}]}' \
  "$manifest" "$(size "$manifest")" "$arch" "$tag" "${tag##*:}" > "$work/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' > "$work/image/oci-layout"
# What older engines read.
printf '[{"Config":"blobs/sha256/%s","RepoTags":["%s"],"Layers":["blobs/sha256/%s","blobs/sha256/%s"]}]' \
  "$config" "$tag" "$system_layer" "$own_layer" > "$work/image/manifest.json"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -C "$work/image" -cf "$out" blobs index.json manifest.json oci-layout
echo "$out: $tag for linux/$arch, sha256:$manifest"
