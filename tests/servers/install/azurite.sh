# Azurite, Azure's own emulator, which verifies account keys and SAS tokens. 3.35 is the last one that names Node 10 to
# 20 as enough: Debian 12 has 18, and 3.36 asks for 21. The lock names no registry, so any mirror npm knows will do.
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
