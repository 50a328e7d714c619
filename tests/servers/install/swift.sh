# OpenStack Swift with its s3api: the second S3 server, which lacks what SeaweedFS has. The fixtures start its programs
# with configurations of their own; nothing in /etc/swift is used.
debian swift-proxy swift-account swift-container swift-object memcached
