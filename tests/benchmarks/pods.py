"""In real pods: from main's end to its outputs at the API server, an idle ``wait``, and what each asks of the server.

Main leaves the time of its end in its output; the API server's audit log has the time of the patch. Both clocks are
this machine's.
"""

from __future__ import annotations

import collections
import json
import os
import statistics
import tempfile
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import tarball
from tests.benchmarks.measure import seconds
from tests.pods.layout import Options, Side, pod
from tests.servers import containerd, dockerd, kubernetes
from tests.servers.image import EXECUTOR, build, load_containerd, load_docker

if TYPE_CHECKING:
    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster

PODS, PATCHES = 5, 20
"""Of each runtime, and of bare patches."""
IDLE = 60.0
"""Seconds that an idle ``wait`` is looked at."""
_TICK = os.sysconf("SC_CLK_TCK")

_RULES = (
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
)
_NODE_RULES = {"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get", "create"]}

# It lasts until `wait` has found it and waits: else the start of `wait` would be measured.
_END = "import os, time; time.sleep(5); open('/work/end', 'w').write(repr(time.time())); os._exit(0)"


def _template(source: str) -> dict[str, Any]:
    return {
        "name": "t",
        "container": {
            "image": EXECUTOR,
            "command": ["python3", "-c", source],
            "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        },
        "volumes": [{"name": "work", "emptyDir": {}}],
        "outputs": {"parameters": [{"name": "end", "valueFrom": {"path": "/work/end"}}]},
    }


def _run(here: Namespace, cluster: Cluster, name: str, runtime: str, source: str) -> None:
    node = cluster.node
    options = Options(
        name=name,
        namespace=here.name,
        executor_image=EXECUTOR,
        wait=Side("v3.0", runtime),
        docker_socket=str(node.dockerd.socket) if isinstance(node, dockerd.DockerNode) else "",
        kubelet_port=cluster.kubelet_port,
        include_script_output=False,
    )
    here.apply(pod(_template(source), options))


def _patched(cluster: Cluster, here: Namespace) -> dict[str, float]:
    """When the outputs of each pod came in; by the pod's name."""
    user = f"system:serviceaccount:{here.name}:default"
    found = {}
    for line in (cluster.directory / "audit.log").read_text().splitlines():
        event = json.loads(line)
        if event["verb"] == "patch" and event["user"].get("username") == user:
            moment = datetime.fromisoformat(event["requestReceivedTimestamp"])
            found[event["objectRef"]["name"]] = moment.timestamp()
    return found


def _late(cluster: Cluster, runtime: str) -> tuple[float, collections.Counter[str]]:
    """Seconds from main's end to the patch, and the requests of one pod."""
    here = cluster.namespace(*_RULES)
    here.grant(_NODE_RULES, nodes=True)
    late = []
    for number in range(PODS):
        name = f"{runtime}-{number}"
        _run(here, cluster, name, runtime, _END)
        ended = here.wait_ended(name, 300)
        [parameter] = json.loads(ended["metadata"]["annotations"]["workflows.argoproj.io/outputs"])["parameters"]
        late.append(_patched(cluster, here)[name] - float(parameter["value"]))
    requests = cluster.requests(f"system:serviceaccount:{here.name}:default")
    return statistics.median(late), collections.Counter({what: count / PODS for what, count in requests.items()})


def _patch(cluster: Cluster) -> float:
    """Seconds of a bare PATCH of a pod's annotation."""
    here = cluster.namespace()
    main = {"name": "main", "image": dockerd.BUSYBOX, "command": ["true"]}
    here.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [main], "restartPolicy": "Never"},
    })  # fmt: skip
    here.wait_ended("p", 300)
    return statistics.median(
        seconds(lambda n=n: here.patch_pod("p", {"metadata": {"annotations": {"a": str(n)}}}))  # type: ignore[misc]
        for n in range(PATCHES)
    )


@dataclass(frozen=True)
class _Idle:
    """Of a ``wait`` whose main does nothing: CPU seconds in a minute, resident MiB, requests in that minute."""

    cpu: float
    rss: float
    requests: int


def _idle(cluster: Cluster, runtime: str) -> _Idle:
    here = cluster.namespace(*_RULES)
    here.grant(_NODE_RULES, nodes=True)
    name = f"idle-{runtime}"
    _run(here, cluster, name, runtime, f"import time; time.sleep({IDLE * 10})")
    here.wait_pod(name, lambda one: one and _running(one, "wait") and _running(one, "main"), 300)
    user = f"system:serviceaccount:{here.name}:default"
    never = threading.Event()
    never.wait(10)  # it has started, and found main
    process = _process(name)
    before, asked = _cpu(process), cluster.requests(user).total()
    never.wait(IDLE)
    cpu, rss = _cpu(process) - before, _rss(process)
    asked = cluster.requests(user).total() - asked
    here.delete_pod(name, 0)
    return _Idle(cpu * 60 / IDLE, rss, asked)


def _running(one: Any, name: str) -> bool:
    states = {status["name"]: status["state"] for status in one["status"].get("containerStatuses") or ()}
    return "running" in states.get(name, {})


def _process(name: str) -> Path:
    """The ``wait`` of a pod, as this machine sees it."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            named = f"ARGO_POD_NAME={name}".encode() in (directory / "environ").read_bytes().split(b"\0")
            if named and b"\0wait" in (directory / "cmdline").read_bytes():
                return directory
        except OSError:  # it has ended
            continue
    raise LookupError(f"no process of {name}")


def _cpu(process: Path) -> float:
    """User and system seconds so far."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _rss(process: Path) -> float:
    [line] = [line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print the tables, of a cluster with docker and one with containerd."""
    with tempfile.TemporaryDirectory(prefix="pods-", dir="/tmp") as name:
        work = Path(name)
        rootfs, archive = work / "rootfs.tar", work / "image.tar"
        build(rootfs)
        tarball.image(rootfs, EXECUTOR, archive)
        for flavour, runtime_of in (("docker", dockerd.node), ("containerd", containerd.node)):
            with kubernetes.started(work / flavour[0], runtime_of) as cluster:
                if isinstance(cluster.node, dockerd.DockerNode):
                    load_docker(cluster.node.dockerd, archive)
                else:
                    load_containerd(cluster.node.socket, archive)
                _tables(cluster, flavour)


def _tables(cluster: Cluster, flavour: str) -> None:
    bare = _patch(cluster)
    print(
        f"{'pods on ' + flavour:24} {'late ms':>8} {'× PATCH':>8} {'idle CPU ms/min':>16} {'RSS MiB':>8}"
        f" {'asked/min':>10}  requests of a pod"
    )
    for runtime in ("docker", "kubelet", "k8sapi", "pns"):
        if (flavour, runtime) == ("containerd", "docker"):
            continue
        late, requests = _late(cluster, runtime)
        idle = _idle(cluster, runtime)
        asked = ", ".join(f"{count:g} {what}" for what, count in sorted(requests.items()))
        print(
            f"{runtime:24} {late * 1000:8.1f} {late / bare:8.1f} {idle.cpu * 1000:16.0f} {idle.rss:8.1f}"
            f" {idle.requests:10}  {asked}",
            flush=True,
        )


if __name__ == "__main__":
    main()
