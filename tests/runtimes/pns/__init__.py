"""A pod of real containers in one process namespace, without Kubernetes: docker makes them, the test plays kubelet."""
