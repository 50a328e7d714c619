"""Flags and exit statuses of the command line, as a process."""

import os
import subprocess
import sys

import pytest

GLOBAL = """--kubeconfig=x --as=a --as-group=g --as-group=h --as-uid=1 --certificate-authority=c --client-certificate=c
--client-key=k --cluster=c --context=c --insecure-skip-tls-verify --insecure-skip-tls-verify=true -n ns --namespace=ns
--password=p --request-timeout=1s --server=s --token=t --user=u --username=u --pod-annotations=/nowhere --loglevel=debug
--gloglevel=5 --log-format=json --tls-server-name=t --proxy-url=p --disable-compression""".split()


def argoexec(*argv, **env):
    return subprocess.run(
        [sys.executable, "-m", "lifecycle.cli", *argv],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_command_the_help_is_printed():
    done = argoexec()

    assert done.returncode == 0
    assert "wait" in done.stdout


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["nonsense"], 1), (["--nonsense"], 1), (["wait", "--nonsense"], 1), (["init", "--nonsense"], 1),
        (["run"], 2), (["run", "--nonsense", "x"], 2), (["explain"], 2), (["diagram", "--format=nonsense"], 2),
    ],
)  # fmt: skip
def test_a_usage_error_exits_with_the_originals_status_or_with_2(argv, status):
    done = argoexec(*argv)

    assert done.returncode == status
    assert "error" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_flag_of_the_original_parses_before_and_after_the_command():
    assert argoexec(*GLOBAL, "version", "--short").returncode == 0
    assert argoexec("version", "--short", *GLOBAL).returncode == 0


def test_version():
    assert argoexec("version", "--short").stdout.startswith("argoexec: v")
    assert len(argoexec("version").stdout.splitlines()) > 1


def test_init_and_wait_ignore_positional_arguments_and_want_a_pod_name():
    for command in ("init", "wait"):
        done = argoexec(command, "ignored", "words", ARGO_POD_NAME="")
        assert done.returncode == 1
        assert "ARGO_POD_NAME: it is not set" in done.stderr


@pytest.mark.parametrize("runtime", ["docker", "", "kubelet", "k8sapi", "pns"])
def test_a_runtime_that_comes_later_says_so(runtime):
    done = argoexec("wait", ARGO_POD_NAME="p", ARGO_CONTAINER_RUNTIME_EXECUTOR=runtime)

    assert done.returncode == 1
    assert f"the runtime {runtime or 'docker'!r} comes with a later release" in done.stderr


def test_explain_of_what_is_no_journal_exits_2_and_names_the_place(tmp_path):
    (tmp_path / "j").write_text("nonsense\n")
    done = argoexec("explain", str(tmp_path / "j"))

    assert done.returncode == 2
    assert "j:1: this is not a line of a journal" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error_with_a_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "lifecycle.cli", "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, stderr = process.communicate(timeout=60) if process.stdout is None else (None, process.stderr.read())
    process.wait(timeout=60)
    process.stderr.close()

    assert b"Traceback" not in stderr
