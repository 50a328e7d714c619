"""What a pod imports is what its template needs. The list is the budget; CPU and memory are in the benchmarks."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("kubernetes", "docker", "boto3", "botocore", "fsspec", "rich", "yaml", "urllib3", "asyncio", "pydantic",
         "transitions.extensions", "requests", "aiohttp", "obstore", "hdfs_native", "gcsfs", "adlfs", "ossfs",
         "paramiko", "cryptography", "zipfile")  # fmt: skip

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


@pytest.mark.parametrize("name", HEAVY)
def test_no_module_of_the_lifecycle_imports_it_at_the_top(name):
    """What `init` happens not to reach is held by this: importing every phase imports nothing heavy."""
    code = f"import lifecycle.pod, lifecycle.engine, lifecycle.commands.in_pod, sys; sys.exit({name!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
