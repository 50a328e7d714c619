"""The local runner: plays the controller and the kubelet for one pod on this machine."""
