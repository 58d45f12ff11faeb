#!/usr/bin/env bash
# Builds the real Dockerfile and runs the image, without a Docker engine: sudo make image-test
#
# buildah builds (chroot isolation, vfs storage) on a Debian that debootstrap brings, or on BASE=IMAGE. The image then runs
# in namespaces of its own: root file system read-only, user 1000, no capability, no new privileges, no network but
# loopback, only /work, /data and /tmp writable. Not enforced here: seccomp, limits on memory and processors.
set -euo pipefail
cd "$(dirname "$0")/.."
CACHE=$(realpath -m "${CACHE:-.cache/image-test}")
IMAGE=localhost/bystander:test
LIMIT_MB=600

say() { printf '%s image-test: %s\n' "$(date +%T)" "$*"; }
fail() { say "FAILED: $*"; exit 1; }
builder() { buildah --root "$CACHE/storage" --runroot "$CACHE/run" --storage-driver vfs "$@"; }
megabytes() { echo $(($(du -s --apparent-size --block-size=1 "$@" | cut -f1) / 1000000)); }

for tool in buildah debootstrap unshare nsenter setpriv ip; do
  command -v $tool >/dev/null || fail "$tool is not installed"
done
[ "$(id -u)" = 0 ] || fail "chroot and namespaces need root"
mkdir -p "$CACHE"
trap 'kill "${server:-}" 2>/dev/null || true; builder rm --all >/dev/null 2>&1 || true; rm -rf "${lent:-}" "${work:-}"' EXIT

# --- build ---

base=${BASE:-localhost/debian:bookworm}
if [ -z "${BASE:-}" ] && ! builder image exists 2>/dev/null "$base" && ! builder inspect --type image "$base" >/dev/null 2>&1; then
  say "bootstrapping Debian"
  [ -e "$CACHE/debian/etc/debian_version" ] || debootstrap --variant=minbase bookworm "$CACHE/debian" >"$CACHE/debootstrap.log"
  # what the slim images of Debian leave out
  rm -rf "$CACHE"/debian/var/cache/apt/archives/*.deb "$CACHE"/debian/var/lib/apt/lists/* \
    "$CACHE"/debian/usr/share/{doc,man,info,locale}/*
  container=$(builder from scratch)
  builder add --quiet "$container" "$CACHE/debian" / >/dev/null
  builder commit --quiet "$container" "$base" >/dev/null
  megabytes "$CACHE/debian" >"$CACHE/base.mb"
  rm -rf --one-file-system "$CACHE/debian"
fi

# what this machine's apt and pip need to reach their packages is lent for the build; the image must not keep it
lent=$(mktemp -d)
lend=()
apt-config dump | grep '^Acquire::' >"$lent/apt.conf" || true
lend+=(--volume "$lent/apt.conf:/etc/apt/apt.conf.d/99lent:ro")
python3 -m pip config list | sed -nE "s/^[a-z]+\.([a-z-]+)='(.*)'$/\1 = \2/p" | { echo '[global]'; cat; } >"$lent/pip.conf"
lend+=(--volume "$lent/pip.conf:/etc/pip.conf:ro")
# a certificate goes by another name: the build installs a file of its own where this machine's may lie
certificate=$(sed -n 's/^cert = //p' "$lent/pip.conf" | head -1)
if [ -n "$certificate" ]; then
  sed -i "s|^cert = .*|cert = /run/lent.crt|" "$lent/pip.conf"
  lend+=(--volume "$certificate:/run/lent.crt:ro")
fi
# folders with packages; an index in a folder refers to files beside it
while read -r path; do
  path=${path%/simple}
  if [ -e "$path" ]; then lend+=(--volume "$path:$path:ro"); fi
done < <(grep -oE '(file://| )/[A-Za-z0-9/._-]+' "$lent/pip.conf" | grep -oE '/[A-Za-z0-9].*' | sort -u)

say "building"
begun=$SECONDS
nice -n "${NICE:-0}" buildah --root "$CACHE/storage" --runroot "$CACHE/run" --storage-driver vfs build \
  --isolation chroot --format docker ${LAYERS:+--layers} --build-arg BASE="$base" \
  --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  ${EXTRAS:+--build-arg EXTRAS="$EXTRAS"} "${lend[@]}" --tag "$IMAGE" . >"$CACHE/build.log" 2>&1 ||
  { tail -30 "$CACHE/build.log"; fail "the image does not build"; }
say "built in $((SECONDS - begun)) s"

# --- what is in it ---

container=$(builder from --pull-never "$IMAGE")
root=$(builder mount "$container")
config() { builder inspect --type image --format "$1" "$IMAGE"; }
total=$(megabytes "$root")
say "size: $total MB (base: $([ -n "${BASE:-}" ] || cat "$CACHE/base.mb"), /opt/bystander: $(megabytes "$root/opt/bystander"))"
((total < LIMIT_MB)) || [ -n "${EXTRAS:-}" ] || fail "larger than $LIMIT_MB MB"

absent() { [ -z "$(find "$root" -xdev "$@" -print -quit)" ] || fail "in the image: $(find "$root" -xdev "$@" | head -3)"; }
absent -path '*-packages/torch*'
absent -path '*/bin/*' -regex '.*/\(.*-\)?\(gcc\|g\+\+\|cc\|c\+\+\|clang\|ld\|as\|make\|rustc\|go\|nvcc\)\(-[0-9.]+\)?'
absent \( -path '*/.cache/pip*' -o -path "$root/var/lib/apt/lists/*_Packages*" -o -path '*/archives/*.deb' \)
absent \( -path '*/bystander/*-packages/pip' -o -path '*/opt/bystander/bin/pip*' -o -path "$root/src" -o -path "$root/wheel" \)
absent \( -path "$root/etc/pip.conf" -o -path "$root/etc/apt/apt.conf.d/99lent" \) -size +0
absent -path '*/weights/*' -name '*.onnx' -size 0
[ -n "$(find "$root/opt/bystander" -name '*.onnx' -size +1M)" ] || fail "no model in the image"
[ "$(config '{{.Docker.Config.User}}')" = 1000:1000 ] || fail "it does not run as user 1000"
config '{{.Docker.Config.Healthcheck.Test}}' | grep -q /healthz || fail "no health check"
config '{{.Docker.Config.Labels}}' | grep -q "image.version:$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/bystander/__init__.py)" ||
  fail "the version's label is not the package's"
say "no torch, compiler, pip, cache; nothing of this machine's configuration; labels, user and health check are there"

# --- running it ---

work=$(mktemp -d)
chown 1000:1000 "$work"
mapfile -t environment < <(config '{{range .Docker.Config.Env}}{{println .}}{{end}}' | grep .)
mapfile -t entrypoint < <(config '{{range .Docker.Config.Entrypoint}}{{println .}}{{end}}' | grep .)
mapfile -t command < <(config '{{range .Docker.Config.Cmd}}{{println .}}{{end}}' | grep .)
mapfile -t health < <(config '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' | grep . | tail -n +2)

# run USER COMMAND...: as process 1 of a container without a network
run() {
  local user=$1
  shift
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount --pid --fork --kill-child --net --uts --ipc -- bash -euc '
    root=$1 work=$2 user=$3; shift 3
    mount --make-rprivate /
    mount --bind "$root" "$root"
    for path in tmp data dev; do mount -t tmpfs -o mode=1777 tmpfs "$root/$path"; done
    for path in null zero full random urandom; do
      touch "$root/dev/$path"; mount --bind "/dev/$path" "$root/dev/$path"
    done
    mkdir -m 1777 "$root/dev/shm"
    mount -t proc proc "$root/proc"
    mount --bind "$work" "$root/work"
    mount -o remount,bind,ro "$root"
    ip link set lo up
    exec setpriv --no-new-privs --bounding-set=-all,+setuid,+setgid,+sys_chroot \
      chroot --userspec="$user" --groups= "$root" env -i -C /work "$@"
  ' container "$root" "$work" "$user" "${environment[@]}" "$@"
}

# beside COMMAND...: a second process in the container of process $inside
beside() {
  nsenter --target "$inside" --mount --net --pid --ipc --uts --root --wd=/proc/"$inside"/root -S 1000 -G 1000 -- \
    env -i -C /work "${environment[@]}" "$@"
}

run 1000:1000 python - <<'P' || fail "the container is not closed as it should be"
import os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
assert os.getuid() == 1000 and os.getpid() == 1, (os.getuid(), os.getpid())
assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"].strip() == "1", status
for path in ("/opt/bystander/x", "/etc/x", "/x"):
    try:
        open(path, "w")
    except OSError as e:
        assert e.errno == 30, e  # read-only file system
    else:
        raise AssertionError(path)
assert [name for _, name in socket.if_nameindex()] == ["lo"]
for name in ("torch", "pip", "scipy", "skimage"):
    try:
        __import__(name)
    except ImportError:
        continue
    assert name == "pip", name  # the base may have one
P
say "read-only root, user 1000, no capability, no network"

begun=$SECONDS
run 1000:1000 "${entrypoint[@]}" demo || fail "the demo"
say "demo: $((SECONDS - begun)) s"
begun=$SECONDS
run 1000:1000 "${entrypoint[@]}" file demo/original.mp4 out.mp4 --quiet || fail "a file"
[ "$(stat -c %u "$work/out.mp4")" = 1000 ] || fail "the covered film belongs to somebody else"
say "file: $((SECONDS - begun)) s"
chown -R 4321:4321 "$work"
run 4321:4321 "${entrypoint[@]}" file demo/side_by_side.png still.png --quiet || fail "another user (--user)"
[ "$(stat -c %u "$work/still.png")" = 4321 ] || fail "the covered picture belongs to somebody else"
chown -R 1000:1000 "$work"

# start LOG COMMAND...: in the background; $server waits for it, $inside is the container's process 1, as seen from here
start() {
  local log=$1
  shift
  run 1000:1000 "$@" >"$log" 2>&1 &
  server=$!
  inside=$server
  for _ in $(seq 100); do
    grep -q '^NSpid:.*[[:space:]]1$' "/proc/$inside/status" 2>/dev/null && return
    inside=$(pgrep -P "$inside" | head -1) || true
    inside=${inside:-$server}
    sleep 0.1
  done
  fail "nothing started"
}
# stop: SIGTERM as docker stop sends it, to process 1
stop() {
  begun=$SECONDS
  kill -TERM "$inside"
  (sleep 60; kill -KILL "$inside") 2>/dev/null &
  watchdog=$!
  wait "$server" && code=0 || code=$?
  kill $watchdog 2>/dev/null || true
  server=
  [ "$code" = 143 ] || [ "$code" = 0 ] || fail "SIGTERM: exit code $code"
  say "SIGTERM: ended with $code after $((SECONDS - begun)) s"
}

start "$CACHE/file.log" "${entrypoint[@]}" file demo/original.mp4 stopped.mp4 --quiet
for _ in $(seq 600); do [ -n "$(find "$work" -maxdepth 1 -name '.*partial*')" ] && break; sleep 0.1; done
[ -n "$(find "$work" -maxdepth 1 -name '.*partial*')" ] || { cat "$CACHE/file.log"; fail "no film was begun"; }
stop
[ -z "$(find "$work" -maxdepth 1 \( -name '.*' -o -name 'stopped*' \) -type f)" ] || fail "a half-written film was left"

start "$CACHE/web.log" "${entrypoint[@]}" "${command[@]}"
for _ in $(seq 120); do beside "${health[@]}" 2>/dev/null && break; sleep 1; done
beside "${health[@]}" || { cat "$CACHE/web.log"; fail "the health check"; }
token=$(sed -n 's/.*[?]token=\([A-Za-z0-9_-]*\).*/\1/p' "$CACHE/web.log" | head -1)
[ -n "$token" ] || { cat "$CACHE/web.log"; fail "no token was printed"; }
beside env TOKEN="$token" python - <<'P' || fail "the page"
import http.cookiejar, os, urllib.error, urllib.request
page = "http://127.0.0.1:8080/"
with urllib.request.urlopen(page) as answer:
    assert answer.url.endswith("/login"), answer.url  # nothing without the token
jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
with urllib.request.build_opener(jar).open(f"{page}?token={os.environ['TOKEN']}") as answer:
    text = answer.read().decode()
    assert answer.status == 200 and answer.url == page, answer.url
    assert "bystander" in text.lower() and "csrf-token" in text, text[:300]
P
say "web: /healthz and the page answer, with the token only"
stop
say "PASSED: $total MB"
