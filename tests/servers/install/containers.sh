# Container runtimes: dockerd with containerd and runc, and what images are made from: nothing comes from a registry.
debian docker.io containerd runc containernetworking-plugins busybox-static
# What else the executor's image is made of, beside the git and ssh of git.sh.
debian ca-certificates media-types binutils
