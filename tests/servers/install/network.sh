# What cuts the way between a program and its store, in a network namespace of a test's own.
debian nftables iproute2
