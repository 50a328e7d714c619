"""What the API server's runtime makes of a pod's state, by a scripted server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from lifecycle.errors import NotFound, Unavailable
from lifecycle.ports import Container
from runtimes import credentials, firstprocess, remote
from runtimes.exec import API_STREAMS
from runtimes.k8sapi import KubernetesRuntime
from runtimes.pods import PodWatch
from tests.runtimes import apiserver_by_script as script
from tests.runtimes.apiserver_by_script import POD, RUNNING, account, found, pod, refused, surroundings, waiting, watch
from tests.servers.httpd import Answer, Httpd

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = f"{POD}/log?container=main"
MAIN = Container("main", "abc")


@pytest.fixture
def server(certificate, tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account(tmp_path / "account", certificate))
    with Httpd(certificate) as one:
        yield one


@pytest.fixture
def runtime(server) -> Iterator[KubernetesRuntime]:
    here = surroundings(server)
    yield KubernetesRuntime.from_pod(here)
    script.over(PodWatch.of(here))


def test_the_output_of_what_has_ended_is_followed_to_its_end(server, runtime):
    server.on(POD, found(pod("1", script.ended(0))))
    server.on(f"{LOG}&follow=true", Answer(200, b"\x00\xff no newline", length=-1))

    with runtime.open_output(MAIN, combined=True) as stream:
        assert stream.read() == b"\x00\xff no newline"


def test_the_output_of_what_runs_is_what_there_is(server, runtime):
    server.on(POD, found(pod("1", RUNNING)))
    server.on(LOG, Answer(200, b"so far"))

    with runtime.open_output(MAIN, combined=True) as stream:
        assert stream.read() == b"so far"


@pytest.mark.parametrize("state", [None, waiting("ContainerCreating")])
def test_what_has_not_started_has_no_output(server, runtime, state):
    server.on(POD, found(pod("1", state)))

    with pytest.raises(NotFound, match="has not started"):
        runtime.open_output(MAIN, combined=True)
    assert len(server.requests) == 1


def test_a_command_that_was_never_begun_has_written_nothing(server, runtime):
    server.on(POD, found(pod("1", script.ended(127, "ContainerCannotRun"))))

    with runtime.open_output(MAIN, combined=True) as stream:
        assert stream.read() == b""
    assert [one.target for one in server.requests] == [POD]


def test_an_output_that_is_cut_is_no_short_output(server, runtime):
    server.on(POD, found(pod("1", script.ended(0))))
    server.on(f"{LOG}&follow=true", Answer(200, b"some of it", length=1000))

    with runtime.open_output(MAIN, combined=True) as stream, pytest.raises(Unavailable):
        stream.read()


def test_that_stderr_is_in_it_is_said_once(server, runtime, caplog):
    server.on(POD, found(pod("1", RUNNING)))
    server.on(LOG, Answer(200, b""))
    with caplog.at_level(logging.WARNING, "argoexec"):
        for combined in (True, False, False):
            runtime.open_output(MAIN, combined=combined).close()

    assert [one.getMessage() for one in caplog.records] == [
        "stdout and stderr of main cannot be told apart by this runtime: both are taken"
    ]


def test_the_others_are_what_runs_and_is_not_ours(server, runtime):
    told = [
        {"name": name, "containerID": f"cri-o://{name}-id", "state": state}
        for name, state in (("main", RUNNING), ("wait", RUNNING), ("proxy", RUNNING), ("done", script.ended(0)),
                            ("late", waiting("ContainerCreating")))
    ]  # fmt: skip
    server.on(POD, found(pod("1", containerStatuses=told)))

    assert runtime.others() == [Container("proxy", "proxy-id")]


@pytest.mark.parametrize("state", [None, waiting("ContainerCreating"), script.ended(0)])
def test_a_signal_to_what_does_not_run_is_success_and_sends_nothing(server, runtime, state):
    server.on(POD, found(pod("1", state)))
    runtime.signal(MAIN, 15)

    assert [one.target for one in server.requests] == [POD]


TERM = firstprocess.commands(15, shared=False)[0]
EXEC = f"{POD}/exec?{urlencode([('container', 'main'), *API_STREAMS, *(('command', word) for word in TERM)])}"
GONE = refused(404, "NotFound", 'pods "p" not found')


def refused_exec(server, monkeypatch, *then):
    """A main that runs, when one looks first; the kubelet does not find it any more; and what is known then."""
    monkeypatch.setattr(remote, "_NEWS", 0.0)
    server.on(POD, found(pod("1", RUNNING)), *then)
    server.on(EXEC, refused(500, "", 'container not found ("main")'))
    server.on(watch(), Answer(200, b"", hangs=True))


@pytest.mark.parametrize("then", [found(pod("2", script.ended(0))), GONE])
def test_a_signal_to_what_has_ended_meanwhile_is_success(server, runtime, monkeypatch, then):
    refused_exec(server, monkeypatch, then)
    runtime.signal(MAIN, 15)

    assert [one.target for one in server.requests if "exec" in one.target] == [EXEC]


def test_a_refused_command_in_what_runs_on_may_be_tried_again(server, runtime, monkeypatch):
    refused_exec(server, monkeypatch)

    with pytest.raises(Unavailable, match="container not found"):
        runtime.signal(MAIN, 15)


def test_a_signal_into_a_pod_that_is_gone_is_success(server, runtime):
    server.on(POD, GONE)
    runtime.signal(MAIN, 9)

    assert [one.target for one in server.requests] == [POD]
