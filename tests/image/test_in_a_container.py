"""The executor's image in real containers: what controllers, kubelets and people ask of it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from deploy import rootfs, tarball
from tests.image.conftest import STRICT, TERMINATE
from tests.servers import dockerd as servers
from tests.servers.repository import Repository

USERS = pytest.mark.parametrize("user", ["0:0", "8737:8737", "12345:12345"])

KILL = "kill -s USR2 $(pidof argoexec)"
"""What a v2.3 controller runs in `wait` by `sh -c` (spec 1.9)."""

SET_UP = 'until grep -q \'"phase": *"waiting"\' /tmp/argo/wait.journal.jsonl; do :; done 2>/dev/null'

NOT_IN_IT = {
    "drivers.conformance",
    "drivers.testing",
    "lifecycle.faults.testing",
    "lifecycle.spans",
    "lifecycle.metrics",
}
"""Modules that need pytest, or an extra which an image has only if it is asked for."""


@USERS
def test_argoexec_is_on_the_path_and_needs_neither_a_home_nor_anything_to_write(executor, user):
    said = executor.run("sh", "-c", "unset HOME; exec argoexec version", options=(*STRICT, "--user", user))

    assert said.startswith("argoexec: v")
    assert "PythonVersion: 3." in said


@USERS
def test_init_loads_an_artifact_in_the_image(executor, local_pod, user):
    pod = local_pod(inputs={"artifacts": [{"name": "a", "path": "/a", "raw": {"data": "hello"}}]})

    executor.run(*pod.command("init"), options=(*STRICT, *pod.options, "--user", user))

    assert pod.loaded("a").read_text() == "hello"


@pytest.mark.parametrize(
    ("shared", "user"),
    [(False, "8737:8737"), (True, "0:0")],
    ids=["is the first process", "shares the pod's processes"],
)
def test_the_controllers_signal_reaches_wait_and_makes_it_read_again(executor, local_pod, user, shared):
    """The first process of a container does not die of a signal that it does not handle; any other does.

    A main that has not begun gets a minute to do so before it is given up: two of them are enough.
    """
    pod = local_pod()
    pause = ("--pid", f"container:{executor.start('sleep', 'infinity')}") if shared else ()
    wait = executor.start(*pod.command("wait"), options=(*STRICT, *pod.options, *pause, "--user", user))
    executor.sh(wait, SET_UP)

    pod.say(TERMINATE)
    executor.sh(wait, KILL)

    assert executor.ended(wait) == 0
    assert "terminated" in pod.reported()


def test_the_signal_reaches_no_child_of_the_executor(executor, local_pod):
    """A client in a process of its own does not handle it, and would die of it."""
    hdfs = {"addresses": ["127.0.0.1:9000"], "path": "/words", "hdfsUser": "alice"}
    pod = local_pod(inputs={"artifacts": [{"name": "a", "path": "/a", "hdfs": hdfs}]})
    silent = 'nc -l -p 9000 >/dev/null & exec "$@"'  # a name node that takes a connection and says nothing
    init = executor.start("sh", "-c", silent, "sh", *pod.command("init"), options=(*STRICT, *pod.options))
    child = "ps -o pid,comm,args | grep '[h]dfs_child'"
    executor.sh(init, f"until {child}; do :; done >/dev/null")
    before = executor.sh(init, child)

    found = executor.sh(init, "pidof argoexec").split()
    executor.sh(init, KILL)

    assert found == ["1"]
    assert executor.sh(init, child) == before
    assert " argoexec " not in before


def test_other_programs_that_look_for_processes_find_it_too(executor, local_pod):
    """Debian's pidof and pgrep, which an image that is made from this one may have; here the machine's look at it."""
    pod = local_pod()
    wait = executor.start(*pod.command("wait"), options=(*STRICT, *pod.options))
    executor.sh(wait, SET_UP)
    pid = executor.dockerd.docker("inspect", "--format", "{{.State.Pid}}", wait).decode().strip()

    for program in (["pidof", "argoexec"], ["pgrep", "-x", "argoexec"]):
        said = subprocess.run([shutil.which(program[0]), *program[1:]], capture_output=True, text=True, check=True)
        assert pid in said.stdout.split()


def test_git_clones_over_https_with_submodules(executor, local_pod, githttp, git_root, certificate, tmp_path):
    repository = Repository.filled(git_root / "image.git")
    Repository.filled(git_root / "image-inner.git")
    repository.add_submodule("../image-inner.git", "inner")
    repository.run("push", "--quiet", "origin", "main")
    config = {"repo": f"{githttp.tls_url}/public/image.git"}
    pod = local_pod(inputs={"artifacts": [{"name": "a", "path": "/a", "git": config}]})
    trusted = ("--volume", f"{certificate[0]}:/etc/ssl/certs/ca-certificates.crt:ro", "--network", "host")

    executor.run(*pod.command("init"), options=("--read-only", "--tmpfs", "/tmp", *pod.options, *trusted))

    assert (pod.loaded("a") / "file-5").exists()
    assert (pod.loaded("a") / "inner/file-5").exists()


def test_git_clones_over_ssh(executor, local_pod, sshd, tmp_path):
    repository = Repository.filled(tmp_path / "ssh.git")
    (tmp_path / "secrets/deploy").mkdir(parents=True)
    (tmp_path / "secrets/deploy/key").write_text(sshd.key)
    config = {"repo": f"{sshd.url}{repository.path}", "sshPrivateKeySecret": {"name": "deploy", "key": "key"}}
    pod = local_pod(inputs={"artifacts": [{"name": "a", "path": "/a", "git": config}]})
    known = ("--volume", f"{sshd.known_hosts}:/etc/ssh/ssh_known_hosts:ro")
    secrets = ("--volume", f"{tmp_path}/secrets:/secrets:ro", "--env", "ARGOEXEC_SECRETS=/secrets")
    strict = ("--read-only", "--tmpfs", "/tmp", "--network", "host")

    executor.run(*pod.command("init"), options=(*strict, *pod.options, *known, *secrets))

    assert (pod.loaded("a") / "file-5").exists()


def test_every_library_can_be_imported(executor):
    """What was left out is needed by nobody, and every shared library is there."""
    modules = (
        "adlfs backports.zstd boto3 botocore.credentials certifi cryptography.hazmat.primitives.kdf.argon2 docker "
        "fsspec gcsfs hdfs_native isal.isal_zlib kubernetes.config msgspec obstore.store oss2 ossfs rich s3transfer "
        "ssl tenacity transitions urllib3 websocket yaml"
    ).split()
    code = (
        "import importlib, pkgutil, sys\n"
        "import lifecycle, runtimes, drivers, diagrams\n"
        "own = [one.name for package in (lifecycle, runtimes, drivers, diagrams)"
        " for one in pkgutil.walk_packages(package.__path__, package.__name__ + '.')]\n"
        "for name in [*sys.argv[1:], *own]:\n"
        f"    if name not in {sorted(NOT_IN_IT)}: importlib.import_module(name)\n"
        "print(len(own))\n"
    )

    said = executor.run("python3", "-ISc", f"import sys; sys.path.append('/{rootfs.SITE}')\n{code}", *modules)

    assert int(said) > 100


def test_it_trusts_the_certificate_authorities(executor):
    said = executor.run("python3", "-ISc", "import ssl; print(len(ssl.create_default_context().get_ca_certs()))")

    assert int(said) > 50


def test_nothing_is_compiled_in_a_pod(executor):
    """Root may write into the image here: what is written there would be the byte code."""
    container = executor.start("argoexec", "version", options=("--network", "none"))
    assert executor.ended(container) == 0

    assert executor.dockerd.docker("diff", container) == b""


def test_starting_costs_little_more_than_an_interpreter(executor):
    code = """
import resource, subprocess, sys
def cost(*argv):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(10): subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
cost("python3", "-c", "pass"), cost("argoexec", "version")
print(cost("argoexec", "version") / cost("python3", "-c", "pass"))
"""
    ratio = float(executor.run("python3", "-c", code))

    print(f"argoexec version: {ratio:.1f} × the CPU of a bare interpreter")
    assert ratio < 6


def test_the_other_variant_is_not_root(dockerd, tmp_path):
    """The same bytes with another user; a small one stands for it."""
    (tmp_path / "tar").write_bytes(servers.busybox())
    tarball.image(tmp_path / "tar", "argoexec:nonroot", tmp_path / "image", user=f"{rootfs.UID}:{rootfs.UID}")
    dockerd.docker("load", "--input", str(tmp_path / "image"))

    said = dockerd.docker("run", "--rm", "--network", "none", "--env", "PATH=/bin", "argoexec:nonroot", "id", "-u")

    assert said.split() == [b"8737"]
