# Azurite, Azure's own emulator, which verifies account keys and SAS tokens. Debian 12 has Node 18: 3.35 runs with it,
# though npm warns of some dependencies that name 20; 3.36 asks for 21. The lock names no registry: any mirror will do.
if ! command -v npm >/dev/null; then
  debian nodejs npm
fi

install_azurite() {
  local name=azurite-$(digest "$here/azurite/package-lock.json")
  cached "$name" _azurite
  export ARGOEXEC_AZURITE=$cache/$name/node_modules/.bin/azurite-blob
}

_azurite() {
  cp "$here"/azurite/package.json "$here"/azurite/package-lock.json "$1"
  (cd "$1" && npm ci --silent --no-audit --no-fund --ignore-scripts --omit=optional)
}
