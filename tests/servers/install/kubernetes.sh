# Kubernetes 1.20 with dockershim, the last Debian has the source of: built from Debian's source package by Debian's
# Go, because nothing else here offers a kubelet. Five to ten minutes once, then from the cache.
debian golang-go dpkg-dev rsync etcd-server gcc libc6-dev

kubernetes_version=1.20.2

install_kubernetes() {
  local name=kubernetes-$kubernetes_version-patched
  cached "$name" _kubernetes
  export ARGOEXEC_KUBERNETES=$cache/$name
}

_kubernetes() {
  local work=$1/build
  mkdir -p "$work/home"
  (cd "$work" && _kubernetes_source)
  echo "building Kubernetes $kubernetes_version from Debian's source package; about five minutes …"
  (
    cd "$work"
    dpkg-source -x kubernetes_*.dsc source >/dev/null 2>&1
    cd source
    _kubernetes_maps vendor/github.com/modern-go/reflect2
    mkdir -p .go/src/k8s.io
    ln -sfn ../../.. .go/src/k8s.io/kubernetes
    printf "KUBE_GIT_%s='%s'\n" COMMIT debian TREE_STATE clean VERSION v$kubernetes_version MAJOR 1 MINOR 20 >../version
    export KUBE_GIT_VERSION_FILE=$work/version GOPATH=$PWD/.go HOME=$work/home GOCACHE=$work/go-cache
    export GO111MODULE=off GOPROXY=off CGO_ENABLED=0
    make WHAT="cmd/kube-apiserver cmd/kubelet cmd/kube-controller-manager" GOLDFLAGS="-s -w" >"$work/make.log" 2>&1 ||
      { tail -n 40 "$work/make.log" >&2; exit 1; }
  )
  mkdir -p "$1/bin"
  cp "$work"/source/_output/local/bin/linux/*/{kube-apiserver,kubelet,kube-controller-manager} "$1/bin/"
  gcc -Os -static -o "$1/bin/pause" "$work/source/build/pause/linux/pause.c"
  chmod -R u+w "$work"
  rm -rf "$work"
}

# Of this library Kubernetes 1.20 has a version that hands Go's map iterator two words of the twelve that Go 1.18 and
# later write: the API server then dies of a segmentation fault at the first custom resource. It is changed as its
# version 1.0.2 is.
_kubernetes_maps() {
  sed -i -e 's|// rest fields are ignored|_ [6]unsafe.Pointer; _ [4]uintptr|' \
    -e 's|m unsafe.Pointer) \*hiter|m unsafe.Pointer, it *hiter)|' "$1/unsafe_link.go"
  sed -i -e 's|^\treturn &UnsafeMapIterator{|\tit := new(hiter)\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n&|' \
    -e 's|mapiterinit(type2.rtype, \*(\*unsafe.Pointer)(obj)),|it,|' "$1/unsafe_map.go"
}

# The sources are asked for in a file of their own, which goes again. It is made from Debian's own entries, whichever
# form they have: with another Signed-By than theirs every later apt call fails.
_kubernetes_source() (
  own=/etc/apt/sources.list.d/debian.sources
  list=/etc/apt/sources.list.d/argoexec-tests
  trap 'rm -f "$list".sources "$list".list' EXIT
  if [ -e "$own" ]; then
    sed 's/^Types:.*/Types: deb-src/' "$own" >"$list.sources"
  else
    sed -n 's/^deb\([[:space:]]\)/deb-src\1/p' /etc/apt/sources.list >"$list.list"
  fi
  apt-get update -qq
  apt-get source -qq --download-only kubernetes </dev/null >/dev/null
)
