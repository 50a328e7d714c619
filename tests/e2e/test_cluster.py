"""The cluster that pods are tested in does what a cluster does, and is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
import websocket

from tests.servers import containerd, dockerd, enclosure, kubernetes
from tests.servers.apiserver import Refused, container
from tests.servers.dockerd import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster

FOREVER = "sleep 1000000"


def _pod(name: str, *, spec: Mapping[str, Any] | None = None, **containers: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 2,
            "containers": [
                {"name": one, "image": BUSYBOX, "command": ["sh", "-c", script]} for one, script in containers.items()
            ],
            **(spec or {}),
        },
    }


def _terminated(pod: Any, name: str) -> Any:
    return container(pod, name).get("state", {}).get("terminated", {})


def _reason(pod: Any) -> Any:
    return container(pod, "main").get("state", {}).get("waiting", {}).get("reason")


def _established(definition: Any) -> bool:
    conditions = (definition or {}).get("status", {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _running(pod: Any) -> bool:
    return "running" in container(pod, "main").get("state", {})


def test_a_pod_of_two_containers_runs_to_its_end(cluster: Cluster) -> None:
    here = cluster.namespace()
    here.apply(_pod("two", main="echo out; exit 3", wait="printf 'no newline'"))
    pod = here.wait_ended("two")
    assert _terminated(pod, "main")["exitCode"] == 3
    assert _terminated(pod, "wait")["exitCode"] == 0
    assert container(pod, "main")["containerID"].startswith(f"{cluster.node.name}://")
    assert here.logs("two", "main") == b"out\n"
    assert here.logs("two", "wait") == b"no newline"


def test_exec_gives_the_output_and_the_exit_code(cluster: Cluster) -> None:
    here = cluster.namespace()
    here.apply(_pod("exec", main=f"trap 'exit 9' USR2; {FOREVER} & wait"))
    here.wait_pod("exec", _running)
    assert here.exec("exec", "main", ["sh", "-c", "echo said; exit 4"]) == (4, b"said\n")
    # With the first process of its namespace every other is killed, also the one that has sent the signal.
    assert here.exec("exec", "main", ["sh", "-c", "kill -s USR2 1"])[0] in (0, 137)
    assert _terminated(here.wait_ended("exec"), "main")["exitCode"] == 9


def test_a_service_account_may_do_what_it_is_granted(cluster: Cluster) -> None:
    here = cluster.namespace()
    with pytest.raises(Refused) as refused:
        here.account().get(here.pods)
    assert refused.value.status == 403
    here.grant({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    assert here.account().get(here.pods)["items"] == []


def test_a_service_account_may_ask_the_kubelet_if_it_is_granted(cluster: Cluster) -> None:
    granted, other = cluster.namespace(), cluster.namespace()
    granted.grant({"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}, nodes=True)

    def status(token: str) -> int:
        with urllib3.PoolManager(ca_certs=str(cluster.api.ca)) as pool:
            url = f"https://127.0.0.1:{cluster.kubelet_port}/pods"
            return pool.request("GET", url, headers={"Authorization": f"Bearer {token}"}, retries=False).status

    assert status(granted.token) == 200
    assert status(other.token) == 403


def test_the_service_account_token_is_in_the_pod(cluster: Cluster) -> None:
    here = cluster.namespace()
    here.apply(_pod("token", main="cat /var/run/secrets/kubernetes.io/serviceaccount/token"))
    here.wait_ended("token")
    assert here.logs("token", "main").decode() == here.token


def test_the_pod_knows_the_api_server(cluster: Cluster) -> None:
    here = cluster.namespace()
    here.apply(_pod("server", main="echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT"))
    here.wait_ended("server")
    assert f"https://{here.logs('server', 'main').decode().strip()}" == cluster.api.url


def test_the_annotations_file_follows_a_patch(cluster: Cluster) -> None:
    here = cluster.namespace()
    items = [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]
    pod = _pod(
        "downward",
        main="until grep -q 'stage=\"after\"' /podinfo/annotations; do sleep 0.1; done",
        spec={"volumes": [{"name": "podinfo", "downwardAPI": {"items": items}}]},
    )
    pod["metadata"]["annotations"] = {"stage": "before"}
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "podinfo", "mountPath": "/podinfo"}]
    here.apply(pod)
    here.wait_pod("downward", _running)
    here.patch_pod("downward", {"metadata": {"annotations": {"stage": "after"}}})
    assert _terminated(here.wait_ended("downward"), "main")["exitCode"] == 0


def test_a_deleted_pod_gets_its_grace(cluster: Cluster) -> None:
    here = cluster.namespace()
    here.apply(_pod("deleted", main=f"trap 'exit 7' TERM; {FOREVER} & wait"))
    here.wait_pod("deleted", _running)
    here.delete_pod("deleted", grace=30)
    seen: list[Any] = []
    here.wait_pod("deleted", lambda pod: seen.append(pod) or pod is None)
    assert seen[0]["metadata"]["deletionGracePeriodSeconds"] == 30
    assert 7 in [_terminated(pod, "main").get("exitCode") for pod in seen]
    assert here.wait_pod("deleted", lambda pod: pod is None) is None  # at once: nothing happens to it any more


def test_the_kernel_ends_who_takes_too_much_memory(cluster: Cluster) -> None:
    here = cluster.namespace()
    reasons = []
    while "OOMKilled" not in reasons and len(reasons) < dockerd.NOTICES_MEMORY:
        pod = _pod(f"greedy-{len(reasons)}", main="exec tail /dev/zero")
        pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": "16Mi"}}
        here.apply(pod)
        ended = _terminated(here.wait_ended(pod["metadata"]["name"]), "main")
        assert ended["exitCode"] == 137, ended
        reasons.append(ended["reason"])
    assert set(reasons[:-1]) <= {"Error"}
    assert reasons[-1] == "OOMKilled"


def test_an_image_that_is_not_there_is_not_pulled(cluster: Cluster) -> None:
    here = cluster.namespace()
    pod = _pod("absent", main="true")
    pod["spec"]["containers"][0]["image"] = "absent:test"
    here.apply(pod)
    here.wait_pod("absent", lambda one: _reason(one) == "ErrImageNeverPull")
    assert "ErrImageNeverPull" in {event["reason"] for event in here.events()}


def test_an_image_keeps_its_environment_and_entry_point(cluster: Cluster) -> None:
    cluster.load(
        "greeting:test", dockerd.busybox(), {"PATH": "/bin", "GREETING": "good day"}, ["sh", "-c", "echo $GREETING"]
    )
    here = cluster.namespace()
    pod = _pod("greeting", main="")
    pod["spec"]["containers"] = [{"name": "main", "image": "greeting:test"}]
    here.apply(pod)
    here.wait_ended("greeting")
    assert here.logs("greeting", "main") == b"good day\n"


def test_cgroups_are_those_of_a_real_node(cluster: Cluster) -> None:
    here = cluster.namespace()
    made = here.apply(_pod("cgroups", main="cat /proc/self/cgroup"))
    pod = here.wait_ended("cgroups")
    identity = container(pod, "main")["containerID"].rpartition("/")[2]
    memory = next(line for line in here.logs("cgroups", "main").decode().splitlines() if ":memory:" in line)
    assert memory.endswith(f"/kubepods/besteffort/pod{made['metadata']['uid']}/{identity}")


def test_a_custom_resource_is_made_and_patched(cluster: Cluster) -> None:
    names = {"kind": "Thing", "listKind": "ThingList", "plural": "things", "singular": "thing"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.example"},
        "spec": {"group": "test.example", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    cluster.apply(definition)
    kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    cluster.api.wait(kinds, "things.test.example", _established)
    here = cluster.namespace()
    made = here.apply({"apiVersion": "test.example/v1", "kind": "Thing", "metadata": {"name": "one"}, "a": {"b": "c"}})
    path = f"/apis/test.example/v1/namespaces/{here.name}/things/one"
    assert cluster.api.patch(path, {"a": {"d": "e"}})["a"] == {"b": "c", "d": "e"}
    assert cluster.api.get(path)["metadata"]["uid"] == made["metadata"]["uid"]


def test_requests_are_counted_by_who_asks(cluster: Cluster) -> None:
    here = cluster.namespace({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch"]})
    account = here.account()
    here.apply(_pod("counted", main="true"))
    for _ in range(3):
        account.get(f"{here.pods}/counted")
    account.patch(f"{here.pods}/counted", {"metadata": {"annotations": {"a": "b"}}})
    user = f"system:serviceaccount:{here.name}:default"
    assert cluster.requests(user=user) == {"get pods": 3, "patch pods": 1}


def test_the_api_server_goes_and_comes_back(cluster: Cluster) -> None:
    here = cluster.namespace()
    here.apply(_pod("during", main=f"trap 'exit 5' TERM; {FOREVER} & wait"))
    here.wait_pod("during", _running)
    with cluster.api_down(), pytest.raises(urllib3.exceptions.HTTPError):
        here.pod("during")
    # The container's end may kill the one who asked for it before that has ended by itself.
    assert here.exec("during", "main", ["kill", "1"])[0] in {0, 137}
    assert _terminated(here.wait_ended("during"), "main")["exitCode"] == 5


def test_containers_survive_their_runtime(cluster: Cluster, tmp_path: Path) -> None:
    here = cluster.namespace()
    os.mkfifo(tmp_path / "go")
    pod = _pod(
        "survivor",
        main="read line < /here/go; exit 5",
        spec={"volumes": [{"name": "here", "hostPath": {"path": str(tmp_path)}}]},
    )
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "here", "mountPath": "/here"}]
    here.apply(pod)
    here.wait_pod("survivor", _running)
    with cluster.members["runtime"].down():
        pass
    _await_exec(here, "survivor")  # an end that comes while the runtime still looks for its containers may be lost
    (tmp_path / "go").write_text("now\n")
    assert _terminated(here.wait_ended("survivor"), "main")["exitCode"] == 5


def _await_exec(here: Namespace, pod: str, seconds: float = 60.0) -> None:
    """Until the node has found its containers again."""
    until = time.monotonic() + seconds
    while True:
        try:
            assert here.exec(pod, "main", ["true"])[0] == 0
        except (AssertionError, ConnectionError, websocket.WebSocketException):
            if time.monotonic() > until:
                raise
        else:
            return


def _traces(directory: Path) -> dict[str, list[str]]:
    """What of this cluster is on the machine, besides its own files."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(directory).encode() in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                processes.append(process.name)
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]
    return {"processes": processes, "mounts": mounts}


def _machine() -> dict[str, object]:
    """What a node would change on a machine of its own."""
    places = ("/var/log/pods", "/var/log/containers", "/var/lib/kubelet", "/run/dockershim.sock", "/run/docker.sock")
    sysctls = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys")
    return {
        **{place: os.listdir(place) if os.path.isdir(place) else os.path.exists(place) for place in places},
        **{name: Path("/proc/sys", name).read_text() for name in sysctls},
    }


def _cgroups(maker: int) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/argoexec-{maker}-*"))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """For sockets, whose paths are short."""
    directory = Path(tempfile.mkdtemp(prefix="k-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


_RUNTIMES = {"docker": dockerd.node, "containerd": containerd.node}


@pytest.mark.parametrize("runtime", _RUNTIMES)
def test_nothing_is_left_of_a_cluster(runtime: str, short_path: Path) -> None:
    before, others = _machine(), _cgroups(os.getpid())
    with kubernetes.started(short_path / "k", _RUNTIMES[runtime]) as one:
        here = one.namespace()
        here.apply(_pod("left", main=FOREVER, wait="exit 1"))
        here.wait_pod("left", _running)
        assert _traces(short_path)["processes"]
        assert len(_cgroups(os.getpid())) > len(others)
    assert _traces(short_path) == {"processes": [], "mounts": []}
    assert _cgroups(os.getpid()) == others
    assert _machine() == before
    shutil.rmtree(short_path)  # nothing in it is busy


_STARTS = """
import sys
from pathlib import Path
from tests.servers import dockerd, kubernetes

with kubernetes.started(Path(sys.argv[1]) / "k", dockerd.node) as one:
    here = one.namespace()
    here.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "left"}, "spec": {
        "containers": [{"name": "main", "image": dockerd.BUSYBOX, "command": ["sleep", "1000000"]}]}})
    here.wait_pod("left", lambda pod: pod["status"]["phase"] == "Running")
    print("running", flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_leaves_no_process_and_no_mount_and_its_cgroups_to_the_next(short_path: Path) -> None:
    pause = kubernetes.binaries() / "pause"
    argv = [sys.executable, "-c", _STARTS, str(short_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout
        assert run.stdout.readline() == b"running\n"
        ends = [os.pidfd_open(int(process)) for process in _traces(short_path)["processes"]]
        run.kill()
    for end in ends:
        assert select.select([end], [], [], 30)[0]
        os.close(end)
    assert _traces(short_path) == {"processes": [], "mounts": []}
    with enclosure.opened(short_path / "next", pause):
        assert _cgroups(run.pid) == []
