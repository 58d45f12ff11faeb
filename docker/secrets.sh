#!/bin/sh
# Makes the secrets that compose.yaml reads: sh docker/secrets.sh [CHANNEL...] (default: one). Safe to run again: keys
# that exist stay. The folder is its owner's alone; the files in it can be read by the containers' user.
set -eu
cd "$(dirname "$0")/.."
folder=secrets
for channel in "${@:-one}"; do
  case $channel in
    '' | *[!a-z0-9_-]*) echo "secrets.sh: $channel: name a channel with a-z, 0-9, _ and -" >&2; exit 2 ;;
  esac
done
mkdir -p "$folder"
chmod 700 "$folder"
umask 022
for name in web_token control_token publish_key worker_key; do
  [ -s "$folder/$name" ] || head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$folder/$name"
done
worker=$(cat "$folder/worker_key")
for channel in "${@:-one}"; do
  echo "rtsp://worker:$worker@mediamtx:8554/raw/$channel" >"$folder/${channel}_in"
  echo "rtsp://worker:$worker@mediamtx:8554/covered/$channel" >"$folder/${channel}_out"
done
sed -e "s|sha256:!PUBLISH_KEY!|$(cat "$folder/publish_key")|" -e "s|sha256:!WORKER_KEY!|$worker|" \
  docker/mediamtx.yml >"$folder/mediamtx.yml"
if ! grep -qs '^BYSTANDER_SECRETS=' .env; then
  [ -z "$(tail -c 1 .env 2>/dev/null)" ] || echo >>.env
  echo "BYSTANDER_SECRETS=./$folder" >>.env
fi
echo "made in $folder/: publish with user publisher and the key in $folder/publish_key; log in with $folder/web_token"
