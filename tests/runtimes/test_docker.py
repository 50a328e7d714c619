"""The docker runtime on a real dockerd: what the public suite does not ask."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import tracemalloc
from pathlib import Path

import pytest

from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    MainNotStarted,
    NotFound,
    Permanent,
    Terminated,
    Transient,
    Unavailable,
    Unsupported,
)
from lifecycle.ports import Container, ExitStatus, Surroundings
from runtimes.docker import NAMESPACE, UID, DockerRuntime
from runtimes.dockerapi import Daemon
from runtimes.pods import PodWatch
from tests.runtimes.apiserver_by_script import over
from tests.runtimes.dockerpods import HANGS, DockerPod, await_no_threads
from tests.servers.dockerd import NOTICES_MEMORY
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy

ROOT = Path(__file__).parents[2]
FOR_EVER = ("sleep", "100000")


@pytest.fixture
def pod(dockerd):
    pod = DockerPod(dockerd)
    yield pod
    pod.close()


@pytest.fixture
def proxied(dockerd):
    """A pod whose daemon is reached through a proxy that breaks connections."""
    with Proxy(str(dockerd.socket)) as proxy:
        pod = DockerPod(dockerd, url=f"tcp://{proxy.address}")
        pod.proxy = proxy
        yield pod
        proxy.plan()
        pod.close()


def output(pod, container, *, combined=False):
    with pod.runtime.open_output(container, combined=combined) as stream:
        return stream.read()


def file(pod, container, path):
    with pod.runtime.open_file(container, path) as stream:
        return stream.read()


def names(stream):
    with stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        return [one.name for one in archive]


def in_thread(work):
    """Begin ``work``; gives a function that waits for what came of it."""
    found = []

    def body():
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=body)
    thread.start()

    def end(within=HANGS):
        thread.join(within)
        assert found or within < HANGS, "it hangs"
        return found[0] if found else None

    return end


# --- main begins ------------------------------------------------------------------------------------------------------


def test_init_containers_that_ended_and_the_pod_s_sandbox_do_not_count(pod):
    init = pod.start("init", "true")
    pod.runtime.wait(init, NEVER, HANGS)
    main = pod.start("main", *FOR_EVER)
    pod.start("wait", *FOR_EVER)
    side = pod.start("side", *FOR_EVER)

    assert pod.runtime.find_main(NEVER) == main
    assert pod.runtime.others() == [side]


def test_a_main_that_has_ended_already_is_found(pod):
    main = pod.run("exit 4")

    assert pod.runtime.find_main(NEVER) == main
    assert pod.runtime.wait(main, NEVER) == ExitStatus(4)


def test_the_newest_of_two_mains_is_the_one(pod):
    pod.run("exit 1")
    main = pod.start("main", *FOR_EVER)

    assert pod.runtime.find_main(NEVER) == main


def test_a_main_that_is_only_made_is_waited_for(pod):
    made = pod.create("main", *FOR_EVER)
    end = in_thread(lambda: pod.runtime.find_main(NEVER))
    pod.dockerd.docker("start", made)

    assert end() == Container("main", made)


def test_a_main_that_cannot_be_started_has_ended_as_the_kubelet_sees_it(pod):
    with pytest.raises(RuntimeError):
        pod.start("main", "nosuchcommand")
    main = pod.runtime.find_main(NEVER)
    status = pod.runtime.wait(main, NEVER)

    assert (status.code, status.reason) == (127, "ContainerCannotRun")
    assert "nosuchcommand" in status.message
    assert pod.runtime.others() == []
    pod.runtime.signal(main, signal.SIGTERM)
    with pytest.raises(NotFound):
        pod.runtime.open_file(main, "/tmp/out")
    with pod.runtime.open_output(main, combined=True) as stream:
        assert stream.read() == b""


def test_a_start_that_fails_while_one_waits_is_seen_although_docker_tells_nobody(pod):
    end = in_thread(lambda: pod.runtime.find_main(NEVER))
    with pytest.raises(RuntimeError):
        pod.start("main", "nosuchcommand")

    assert pod.runtime.wait(end(), NEVER).reason == "ContainerCannotRun"


def test_a_pod_of_the_same_name_from_before_is_another_pod(pod):
    old = DockerPod(pod.dockerd)
    old.labels = pod.labels | {UID: "older"}
    try:
        old.start("main", *FOR_EVER)
        old.start("side", *FOR_EVER)
        pod.start("wait", *FOR_EVER)
        pod.runtime = DockerRuntime(pod.daemon, {key: one for key, one in pod.labels.items() if key != UID})
        end = in_thread(lambda: pod.runtime.find_main(NEVER))
        main = pod.start("main", *FOR_EVER)

        assert end() == main
        assert pod.runtime.others() == []
    finally:
        old.close()


def test_pods_of_one_name_in_two_namespaces_are_not_guessed_between(pod):
    other = DockerPod(pod.dockerd)
    other.labels = pod.labels | {NAMESPACE: "other", UID: "another"}
    try:
        other.start("main", *FOR_EVER)
        known = {key: one for key, one in pod.labels.items() if key not in {NAMESPACE, UID}}

        with pytest.raises(BadRequest, match=r"argo, other"):
            DockerRuntime(pod.daemon, known).find_main(NEVER)
    finally:
        other.close()


# --- a cluster, by script ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def watched(tmp_path, pod, *answers):
    """The API server of a cluster that answers a watch of the pod so, and a runtime of the pod there."""
    name = pod.labels["io.kubernetes.pod.name"]
    query = (
        f"watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=0"
    )
    with Httpd() as httpd:
        httpd.on(f"/api/v1/namespaces/argo/pods/{name}", Answer(body=b'{"metadata": {"name": "p"}}'))
        httpd.on(f"/api/v1/namespaces/argo/pods?{query}", *answers)
        here = Surroundings(
            name, {"DOCKER_HOST": pod.dockerd.url, "HOME": str(tmp_path)}, tmp_path / "annotations",
            {"server": httpd.url, "namespace": "argo"},
        )  # fmt: skip
        try:
            yield httpd, DockerRuntime.from_pod(here)
        finally:
            over(PodWatch.of(here))  # else it asks for the pod until the end of all tests


FORBIDDEN = Answer(403, b'{"kind": "Status", "reason": "Forbidden", "message": "no"}')
GONE = Answer(404, b'{"kind": "Status", "reason": "NotFound", "message": "no more"}')
"""Ends the watch, which would look for the API server for ever."""


def event(status):
    return json.dumps({"type": "ADDED", "object": {"metadata": {"name": "p"}, "status": status}}).encode() + b"\n"


@pytest.fixture(autouse=True)
def _no_kubeconfig(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_kubelet_s_word_that_main_never_starts_ends_the_search(pod, tmp_path):
    waiting = {"name": "main", "state": {"waiting": {"reason": "InvalidImageName", "message": "no such name: A:b:c"}}}
    answers = (Answer(body=event({"containerStatuses": [waiting]}), length=-1), GONE)
    with watched(tmp_path, pod, *answers) as (_, runtime), pytest.raises(MainNotStarted, match="no such name: A:b:c"):
        runtime.find_main(NEVER)
    await_no_threads()


def test_a_main_that_could_not_be_started_and_was_removed_has_ended_as_the_cluster_says(pod, tmp_path):
    said = {"exitCode": 127, "reason": "ContainerCannotRun", "message": "no such program"}
    ended = {"name": "main", "state": {"terminated": said}, "containerID": f"docker://{'0' * 64}"}
    with watched(tmp_path, pod, Answer(body=event({"containerStatuses": [ended]}), length=-1), GONE) as (_, runtime):
        main = runtime.find_main(NEVER)

        assert runtime.wait(main, NEVER) == ExitStatus(127, "ContainerCannotRun", "no such program")


def test_where_the_pod_may_not_be_watched_docker_alone_tells(pod, tmp_path, caplog):
    with watched(tmp_path, pod, FORBIDDEN) as (httpd, runtime), caplog.at_level("INFO", "argoexec"):
        end = in_thread(lambda: runtime.find_main(NEVER))
        httpd.await_requests(2)
        main = pod.start("main", *FOR_EVER)

        assert end() == main
    assert [one.message for one in caplog.records if "the docker daemon alone tells" in one.message]


def test_a_main_of_another_runtime_is_not_waited_for_until_the_end_of_time(pod, tmp_path):
    running = {"name": "main", "state": {"running": {}}, "containerID": "containerd://0123456789abcdef"}
    answers = (Answer(body=event({"containerStatuses": [running]}), length=-1), GONE)
    with watched(tmp_path, pod, *answers) as (_, runtime), pytest.raises(BadRequest, match="0123456789ab") as caught:
        runtime.find_main(NEVER)
    assert "ARGO_CONTAINER_RUNTIME_EXECUTOR" in caught.value.remedy


# --- main's end -------------------------------------------------------------------------------------------------------


def test_a_container_that_the_kernel_killed_for_memory_is_said_to_be(pod):
    options = ("--memory", "16m", "--memory-swap", "16m")
    for _ in range(NOTICES_MEMORY):
        main = pod.start("main", "sh", "-c", "a=x; while :; do a=$a$a; done", options=options)
        status = pod.runtime.wait(main, NEVER, HANGS)
        if status == ExitStatus(137, "OOMKilled"):
            break
        assert status == ExitStatus(137)
    else:
        pytest.fail("no end by memory was told as one")


def test_a_container_that_is_removed_while_one_waits_has_an_end(pod):
    main = pod.start("main", *FOR_EVER)
    end = in_thread(lambda: pod.runtime.wait(main, NEVER))
    pod.dockerd.docker("rm", "-f", main.id)

    # Whoever comes before the removal learns the code, who comes after it that there is none to be known.
    assert isinstance(found := end(), NotFound) or found == ExitStatus(137)


def test_how_a_container_ended_that_is_gone_is_not_known(pod):
    main = pod.run("true")
    pod.dockerd.docker("rm", main.id)

    with pytest.raises(NotFound, match="how it ended is not known"):
        pod.runtime.wait(main, NEVER)


def test_no_wait_leaves_a_thread(pod):
    def cancelled(work):
        cancel = Cancel()
        end = in_thread(lambda: work(cancel))
        cancel.set(terminated())
        assert isinstance(end(), Terminated)
        await_no_threads()

    cancelled(pod.runtime.find_main)
    main = pod.start("main", *FOR_EVER)
    cancelled(lambda cancel: pod.runtime.wait(main, cancel))

    assert pod.runtime.wait(main, NEVER, 0.01) is None
    await_no_threads()
    pod.runtime.find_main(NEVER)
    await_no_threads()


def test_a_wait_whose_connection_is_cut_may_be_begun_again(proxied):
    main = proxied.start("main", "sh", "-c", "trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done")
    proxied.await_output("main", "up")
    end = in_thread(lambda: proxied.runtime.wait(main, NEVER))
    while end(0.05) is None:
        proxied.proxy.hang_up()  # again, should it have come before the connection
    assert isinstance(end(), Transient)

    proxied.runtime.signal(main, signal.SIGTERM)
    assert proxied.runtime.wait(main, NEVER, HANGS) == ExitStatus(6)


def test_a_search_whose_connection_is_cut_may_be_begun_again(proxied):
    proxied.daemon.call("GET", "/version")
    proxied.proxy.plan(Fault("end", after=1, times=1))

    with pytest.raises(Transient):
        proxied.runtime.find_main(NEVER)
    main = proxied.start("main", *FOR_EVER)
    assert proxied.runtime.find_main(NEVER) == main


def test_a_daemon_that_never_answers_keeps_no_cancelled_wait(tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen()
        script = (
            "import threading\n"
            "from lifecycle.clock import Cancel, terminated\n"
            "from lifecycle.errors import Terminated\n"
            "from runtimes.dockerapi import Daemon\n"
            f"daemon, cancel = Daemon({{'DOCKER_HOST': 'unix://{tmp_path}/s'}}), Cancel()\n"
            "threading.Timer(0.2, cancel.set, [terminated()]).start()\n"
            "try: daemon.wait('x', cancel, None)\n"
            "except Terminated: print('ended')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_what_was_removed_is_success(pod, number):
    main = pod.run("true")
    pod.dockerd.docker("rm", main.id)

    pod.runtime.signal(main, number)


# --- output -----------------------------------------------------------------------------------------------------------


def test_stdout_and_stderr_are_told_apart_and_keep_their_order(pod):
    main = pod.run("echo 1; sleep 1; echo 2 >&2; sleep 1; printf 3")

    assert output(pod, main) == b"1\n3"
    assert output(pod, main, combined=True) == b"1\n2\n3"


def test_a_terminal_has_one_stream(pod):
    main = pod.run("echo out; echo err >&2", "--tty")

    assert output(pod, main) == output(pod, main, combined=True) == b"out\r\nerr\r\n"


def test_megabytes_of_output_pass_through_little_memory(pod):
    main = pod.run("yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 8000000")
    size = 0
    tracemalloc.start()
    try:
        with pod.runtime.open_output(main, combined=False) as stream:
            while piece := stream.read(64 * 1024):
                size += len(piece)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
    assert size == 8_000_000


def test_a_long_line_is_whole(pod):
    main = pod.run("head -c 100000 /dev/zero | tr '\\0' x; echo; printf end")

    assert output(pod, main) == b"x" * 100000 + b"\nend"


def test_a_logging_driver_that_keeps_nothing_is_named(pod):
    main = pod.run("echo text", "--log-driver", "none")

    with pytest.raises(Unsupported, match="'none'") as caught:
        pod.runtime.open_output(main, combined=False)
    assert "json-file" in caught.value.remedy


def test_a_log_that_breaks_is_not_taken_for_a_short_one(proxied):
    main = proxied.run("yes | head -c 2000000")
    proxied.proxy.plan(Fault("cut", after=100_000))

    with pytest.raises(Unavailable), proxied.runtime.open_output(main, combined=False) as stream:
        stream.read()


# --- files ------------------------------------------------------------------------------------------------------------

LINKS = """
mkdir -p /tmp/real/deep; echo text > /tmp/real/file; echo deep > /tmp/real/deep/file; ln /tmp/real/file /tmp/real/hard
ln -s real /tmp/directory; ln -s /tmp/directory/deep /tmp/middle; ln -s directory /tmp/again; ln -s real/file /tmp/link
ln -s link /tmp/chain; ln -s /nowhere /tmp/dangling; ln -s b /tmp/a; ln -s a /tmp/b; mkfifo /tmp/fifo
mkdir /tmp/é; echo é > /tmp/é/é; ln -s é/é /tmp/ö
"""


@pytest.fixture
def linked(pod):
    pod.main = pod.run(LINKS)
    return pod


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/tmp/link", b"text\n"),
        ("/tmp/chain", b"text\n"),
        ("/tmp/ö", "é\n".encode()),
        ("/tmp/directory/link/../file", b"text\n"),
        ("/tmp/middle/file", b"deep\n"),
        ("/tmp/again/deep/file", b"deep\n"),
        ("/tmp/real/hard", b"text\n"),
        ("tmp//real/./file", b"text\n"),
    ],
)
def test_links_are_followed_to_a_file(linked, path, content):
    assert file(linked, linked.main, path) == content


@pytest.mark.parametrize("path", ["/tmp/dangling", "/tmp/real/file/below", "/tmp/link/below", "/nothing/at/all"])
def test_links_that_lead_nowhere_are_not_found(linked, path):
    with pytest.raises(NotFound):
        linked.runtime.open_file(linked.main, path)
    with pytest.raises(NotFound):
        linked.runtime.open_tar(linked.main, path)


@pytest.mark.parametrize("path", ["/tmp/a", "tmp/a", "//tmp//a/below/it", "/tmp/fifo", "/tmp/directory"])
def test_a_circle_of_links_and_what_is_no_file_is_refused(linked, path):
    with pytest.raises(BadRequest):
        linked.runtime.open_file(linked.main, path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/tmp/directory", ["directory", "directory/deep", "directory/deep/file", "directory/file", "directory/hard"]),
        ("/tmp/directory/", ["directory", "directory/deep", "directory/deep/file", "directory/file", "directory/hard"]),
        ("/tmp/middle", ["middle", "middle/file"]),
        ("/tmp/again/../middle", ["middle", "middle/file"]),
        ("/tmp/link", ["link"]),
        ("/tmp/chain", ["chain"]),
        ("/tmp/ö", ["ö"]),
    ],
)
def test_a_tar_through_a_link_is_named_by_the_link(linked, path, found):
    assert names(linked.runtime.open_tar(linked.main, path)) == found


def test_hard_links_in_a_tar_lead_to_what_is_in_it(linked):
    with (
        linked.runtime.open_tar(linked.main, "/tmp/directory") as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        found = {one.name: one.linkname for one in archive if one.islnk()}
    assert found == {"directory/hard": "directory/file"}


def test_the_root_is_a_tar_with_a_name(pod):
    main = pod.run("true")

    found = names(pod.runtime.open_tar(main, "/"))
    assert found[0] == "root"
    assert "root/bin/busybox" in found
    assert all(one.startswith("root/") for one in found[1:])


def test_thousands_of_files_and_a_large_one_pass_through_little_memory(pod):
    main = pod.run(
        "mkdir /tmp/many; cd /tmp/many; for i in $(seq 3000); do echo $i > $i; done; : > empty; "
        "head -c 50000000 /dev/zero > large"
    )
    tracemalloc.start()
    try:
        with (
            pod.runtime.open_tar(main, "/tmp/many") as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=64 << 10) as archive,
        ):
            count = 0
            for _ in archive:
                count += 1
                archive.members = []
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
    assert count == 3003
    assert file(pod, main, "/tmp/many/empty") == b""


def test_files_of_a_main_that_was_removed_are_lost_and_not_just_missing(pod):
    main = pod.run("echo text > /tmp/file")
    pod.dockerd.docker("rm", main.id)

    for work in (
        lambda: pod.runtime.open_file(main, "/tmp/file"),
        lambda: pod.runtime.open_tar(main, "/tmp/file"),
        lambda: pod.runtime.open_output(main, combined=True),
    ):
        with pytest.raises(Permanent, match="has been removed") as caught:
            work()
        assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize("kind", ["cut", "end"])
def test_a_stream_of_files_that_breaks_is_not_taken_for_a_short_one(proxied, kind):
    # More than loopback's buffers take: the fault is planned when the stream is open.
    main = proxied.run("head -c 30000000 /dev/zero > /tmp/file")
    opened = (proxied.runtime.open_file, proxied.runtime.open_tar)
    for work in opened:
        with work(main, "/tmp/file") as stream:
            proxied.proxy.plan(Fault(kind, after=1_000_000))
            with pytest.raises(Transient):
                stream.read()


# --- the daemon -------------------------------------------------------------------------------------------------------


def test_a_pod_is_known_by_all_that_is_told_of_it(tmp_path):
    here = Surroundings("p", {"ARGO_POD_UID": "u", "HOME": str(tmp_path)}, tmp_path, {"namespace": "n"})

    assert DockerRuntime.from_pod(here)._labels == {
        "io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "n", "io.kubernetes.pod.uid": "u",
    }  # fmt: skip


# The SDK leaves a socket that could not be connected to the garbage collector.
leaves_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def refusal(host, kind):
    """The error's words; nothing of it is kept."""
    with pytest.raises(kind) as caught:
        Daemon({"DOCKER_HOST": host}).call("GET", "/info")
    words = f"{caught.value}; {caught.value.remedy}"
    del caught
    gc.collect()
    return words


@leaves_sockets
def test_a_socket_that_is_not_there_is_to_be_mounted(tmp_path):
    words = refusal(f"unix://{tmp_path}/none", BadRequest)
    assert f"no socket {tmp_path}/none" in words
    assert "mount" in words


@leaves_sockets
def test_a_daemon_that_is_down_may_come_back(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    assert "no docker daemon listens" in refusal(f"unix://{tmp_path}/s", Unavailable)


def test_an_address_that_is_none_is_named():
    assert "DOCKER_HOST=gopher://x" in refusal("gopher://x", BadRequest)


def test_a_user_who_may_not_use_the_socket_is_named_with_the_group_that_may(tmp_path):
    if os.geteuid():
        pytest.skip("needs root")
    script = (
        "import os, sys\n"
        "import docker\n"
        "os.setgroups([]); os.setgid(4321); os.setuid(4321)\n"
        "from lifecycle.errors import Forbidden\n"
        "from runtimes.dockerapi import Daemon\n"
        f"try: Daemon({{'DOCKER_HOST': 'unix://{tmp_path}/s'}}).call('GET', '/info')\n"
        "except Forbidden as error: print(error)\n"
    )
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        one.listen()
        (tmp_path / "s").chmod(0o660)
        for parent in (tmp_path, *tmp_path.parents[:3]):
            if parent != Path("/tmp"):
                parent.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": "/"},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert "the user 4321 with the groups 4321 may not use the docker daemon's socket" in done.stdout, done.stderr
    assert "the group root (0) (660)" in done.stdout


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadRequest), (403, Forbidden), (404, NotFound), (500, Unavailable), (501, Unsupported), (503, Unavailable)],
)
def test_an_answer_has_the_meaning_of_its_status(status, error, tmp_path):
    with Httpd() as httpd:
        httpd.on("/version", Answer(body=b'{"ApiVersion": "1.41"}'))
        httpd.on("/v1.41/info", Answer(status, b'{"message": "said so"}'))
        with pytest.raises(error, match="said so"):
            Daemon({"DOCKER_HOST": httpd.url.replace("http", "tcp")}).call("GET", "/info")


def test_an_old_daemon_s_500_for_what_does_not_run_is_success():
    with Httpd() as httpd:
        httpd.on("/version", Answer(body=b'{"ApiVersion": "1.24"}'))
        httpd.on("/v1.24/containers/x/kill?signal=15", Answer(500, b'{"message": "is not running"}'))
        httpd.on("/v1.24/containers/x/json", Answer(body=b'{"State": {"Running": false}}'))

        Daemon({"DOCKER_HOST": httpd.url.replace("http", "tcp")}).kill("x", signal.SIGTERM)
        httpd.on("/v1.24/containers/x/json", Answer(body=b'{"State": {"Running": true}}'))
        with pytest.raises(Unavailable):
            Daemon({"DOCKER_HOST": httpd.url.replace("http", "tcp")}).kill("x", signal.SIGTERM)
