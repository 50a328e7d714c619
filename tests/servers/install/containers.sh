# Container runtimes: dockerd with containerd and runc, and what images are made from: nothing comes from a registry.
debian docker.io containerd runc containernetworking-plugins busybox-static
