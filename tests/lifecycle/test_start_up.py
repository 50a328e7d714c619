"""What a pod imports is what its template needs. The list is the budget; CPU and memory are in the benchmarks."""

import json
import os
import signal
import subprocess
import sys

import pytest

from deploy import rootfs

HEAVY = ("kubernetes", "docker", "boto3", "botocore", "fsspec", "rich", "yaml", "urllib3", "asyncio", "pydantic",
         "transitions.extensions", "requests", "aiohttp", "obstore", "hdfs_native", "gcsfs", "adlfs", "ossfs",
         "paramiko", "cryptography", "zipfile", "lark", "re2", "jq", "websocket", "opentelemetry",
         "prometheus_client")  # fmt: skip

PROBE = """
import sys, json, runpy
sys.argv = ["argoexec", *json.loads(sys.argv[1])]
try:
    runpy.run_module("lifecycle.cli", run_name="__main__")
except SystemExit as stop:
    status = stop.code
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""


def modules(*argv, env):
    """The exit status of a command, and the modules it had imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(argv)], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stderr.splitlines()[-1])


@pytest.fixture
def pod_env(tmp_path):
    """A local pod with one raw artifact, laid out as the controller does."""
    template = {
        "name": "t",
        "container": {"image": "i", "command": ["true"]},
        "inputs": {"artifacts": [{"name": "a", "path": "/a", "raw": {"data": "hello"}}]},
    }
    pod = tmp_path / "pod"
    pod.mkdir()
    (pod / "mounts.json").write_text("{}")
    annotations = tmp_path / "annotations"
    annotations.write_text(f"workflows.argoproj.io/template={json.dumps(json.dumps(template))}\n")
    env = os.environ | {
        "ARGO_POD_NAME": "pod-1",
        "ARGO_CONTAINER_RUNTIME_EXECUTOR": "local",
        "ARGOEXEC_LOCAL_POD": str(pod),
        "ARGOEXEC_JOURNAL": str(tmp_path / "journal.jsonl"),
        "ARGOEXEC_TERMINATION_LOG": str(tmp_path / "termination-log"),
    }
    return annotations, env, pod


def test_version_imports_nothing_but_the_command_line():
    status, imported = modules("version", env=dict(os.environ))

    assert status == 0
    assert not [name for name in imported if name.startswith(("transitions", "tenacity", "msgspec", *HEAVY))]


def test_an_init_with_a_raw_artifact_imports_no_client_library(pod_env):
    annotations, env, pod = pod_env
    status, imported = modules("init", "--pod-annotations", str(annotations), env=env)

    assert status == 0
    assert (pod / "volumes/input-artifacts/a").read_text() == "hello"
    assert [name for name in imported if name in HEAVY] == []


def test_who_asks_for_metrics_and_spans_imports_their_packages_alone(pod_env, tmp_path):
    annotations, env, _ = pod_env
    asked = {"ARGOEXEC_METRICS": str(tmp_path / "m.prom"), "ARGOEXEC_TRACE": "1"}
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    status, imported = modules("init", "--pod-annotations", str(annotations), env=env | asked | nobody)

    assert status == 0
    assert 'argoexec_phase_seconds{event="done"' in (tmp_path / "m.prom").read_text()
    assert {"opentelemetry", "prometheus_client"} <= set(imported)
    assert not {"kubernetes", "docker", "boto3", "fsspec", "rich", "yaml"} & set(imported)


@pytest.fixture
def cluster_env(tmp_path):
    """A pod of a cluster whose API server nobody will find; ``init`` writes a script to where it may."""
    annotations = tmp_path / "annotations"
    environ = {
        "ARGO_POD_NAME": "pod-1",
        "ARGO_CONTAINER_RUNTIME_EXECUTOR": "local",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "1",
        "ARGOEXEC_JOURNAL": str(tmp_path / "journal.jsonl"),
        "ARGOEXEC_TERMINATION_LOG": str(tmp_path / "termination-log"),
    }
    (tmp_path / "termination-log").touch()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ARGO", "KUBE"))}
    return annotations, inherited | environ, tmp_path / "termination-log"


def test_an_init_in_a_cluster_that_has_nothing_to_report_imports_no_client_library(cluster_env):
    annotations, env, log = cluster_env
    template = json.dumps({"name": "t", "container": {"image": "i"}})
    annotations.write_text(f"workflows.argoproj.io/template={json.dumps(template)}\n")
    for contract in ({}, {"ARGO_TEMPLATE": template, "ARGO_NODE_ID": "n", "ARGO_WORKFLOW_NAME": "w"}):
        status, imported = modules("init", "--pod-annotations", str(annotations), env=env | contract)

        assert status == 0
        assert [name for name in imported if name in HEAVY] == []
    assert log.read_text() == ""


def test_an_init_asks_the_docker_runtime_what_it_can_read_without_a_client_of_docker(cluster_env):
    annotations, env, _ = cluster_env
    outputs = {"parameters": [{"name": "p", "valueFrom": {"path": "/p"}}]}
    template = json.dumps({"name": "t", "container": {"image": "i"}, "outputs": outputs})
    chosen = {"ARGO_CONTAINER_RUNTIME_EXECUTOR": "docker", "ARGO_TEMPLATE": template}
    status, imported = modules("init", "--pod-annotations", str(annotations), env=env | chosen)

    assert status == 0
    assert "runtimes.docker" in imported
    assert [name for name in imported if name in HEAVY] == []


@pytest.mark.parametrize(
    ("contract", "says"),
    [
        ({"ARGO_TEMPLATE": "{"}, "ARGO_TEMPLATE: it is no JSON"),
        ({}, "is not mounted, and the pod cannot be read: "),
        ({"ARGO_TEMPLATE": "{}", "ARGO_DEADLINE": "é" * 9000}, "is no RFC 3339 time"),
    ],
    ids=["no JSON", "nowhere", "too long a message"],
)
def test_a_pod_that_cannot_start_says_why_to_the_kubelet(cluster_env, contract, says):
    annotations, env, log = cluster_env
    status, _ = modules("init", "--pod-annotations", str(annotations), env=env | contract)

    message = log.read_bytes()
    assert status == 1
    assert message.startswith(b"init: ")
    assert len(message) <= 4096
    assert says in message.decode() or message.decode().endswith("…")


def launched(*argv, env):
    """The image's launcher, which is sent a SIGTERM before it imports anything of ours."""
    early = "from lifecycle.early import begin"
    assert rootfs.LAUNCHER.count(early) == 1
    code = rootfs.LAUNCHER.replace(early, f"import os; os.kill(os.getpid(), {signal.SIGTERM:d})\n{early}")
    return subprocess.run([sys.executable, "-c", code, *argv], env=env, capture_output=True, check=False, timeout=60)


def test_a_sigterm_before_anything_is_imported_stops_the_pod_and_not_the_process(pod_env, tmp_path):
    annotations, env, pod = pod_env
    (tmp_path / "termination-log").touch()
    done = launched("init", "--pod-annotations", str(annotations), env=env)

    assert done.returncode == 1
    assert (tmp_path / "termination-log").read_text() == "terminated by SIGTERM"
    assert not (pod / "volumes/input-artifacts/a").exists()


def test_a_command_without_a_pod_dies_of_it():
    assert launched("version", env=dict(os.environ)).returncode == -signal.SIGTERM


def test_no_module_of_the_lifecycle_imports_what_is_heavy_at_the_top():
    """What `init` happens not to reach is held by this: importing every phase imports nothing heavy."""
    code = "import lifecycle.pod, lifecycle.engine, lifecycle.commands.in_pod, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, text=True, capture_output=True)

    assert "lifecycle.commands.in_pod" in done.stdout.split()
    assert set(done.stdout.split()) & set(HEAVY) == set()
