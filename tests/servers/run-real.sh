#!/usr/bin/env bash
# Installs the real servers once (outside the tree), then runs every test. A skipped test is a failure here.
# What each server needs stands in install/<server>.sh, which ends by exporting where it is; the fixtures in
# tests/servers start the servers: loopback only, ports of their own, stopped by process id.
set -euo pipefail
python=$(realpath --no-symlinks "$1")
here=$(dirname "$(realpath "$0")")
if [ "$(id -u)" != 0 ] || [ ! -f /etc/debian_version ]; then
  echo "make test-real needs root on Debian 12; make test runs anywhere" >&2
  exit 2
fi
if ! grep -q '^12' /etc/debian_version; then
  echo "the packages for the test servers are those of Debian 12; this is $(cat /etc/debian_version), where some may be missing" >&2
fi
cache=$(realpath --canonicalize-missing "${ARGOEXEC_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/argoexec-tests}")
mkdir -p "$cache"

missing=()

# Debian packages that are wanted; they are installed together, before the rest of any install script runs.
debian() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
}

# A directory of the cache, made by the command if it is not there whole: its name changes with what it is made from.
cached() {
  local target=$cache/$1
  shift
  if [ ! -e "$target/.whole" ]; then
    rm -rf "$target"
    mkdir -p "$target"
    "$@" "$target"
    touch "$target/.whole"
  fi
}

digest() { cat "$@" | sha256sum | cut -c1-12; }

for script in "$here"/install/*.sh; do
  # shellcheck source=/dev/null
  source "$script"
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${#missing[@]} Debian packages for the test servers …"
  apt-get update -qq
  # Servers that a package brings must not start by themselves: every test server is one of ours. What packages ask
  # before they start one is this program; systemd's do not care about RUNLEVEL.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  else
    policy=
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
  rm -f ${policy:+"$policy"}
  trap - EXIT
fi
for name in $(compgen -A function | grep '^install_'); do
  "$name"
done

export ARGOEXEC_TEST_REAL=1
cd "$here/../.."
exec "$python" -m pytest "${@:2}"
