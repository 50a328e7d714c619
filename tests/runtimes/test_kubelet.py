"""The kubelet runtime, by a scripted kubelet and API server over TLS: what a real one does not do on demand."""

from __future__ import annotations

import json
import threading
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.errors import Forbidden, InputError, NotFound, Permanent, Terminated, Unauthorized, Unavailable
from lifecycle.ports import Container, ExitStatus
from runtimes import credentials
from runtimes.kubelet import Kubelet, KubeletRuntime, _items
from tests.runtimes import apiserver_by_script as script
from tests.runtimes.apiserver_by_script import POD, RUNNING, account, found, pod, refused, surroundings, waiting
from tests.servers.httpd import Answer, Httpd

if TYPE_CHECKING:
    from collections.abc import Iterator

PODS = "/pods"
LOG = "/containerLogs/flows/p/main"
FOLLOWED = f"{LOG}?follow=true&tailLines=0"
MAIN = Container("main", "abc")


@pytest.fixture
def server(certificate, tmp_path, monkeypatch):
    """The kubelet."""
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account(tmp_path / "account", certificate))
    with Httpd(certificate) as one:
        yield one


@pytest.fixture
def api(certificate):
    """An API server that lets nobody see the pod."""
    with Httpd(certificate) as one:
        one.on(POD, refused(403, "Forbidden", "no"))
        yield one


@pytest.fixture
def runtime(server, api) -> KubeletRuntime:
    return KubeletRuntime.from_pod(surroundings(api, **named(server)))


def named(server: Httpd) -> dict[str, str]:
    host, _, port = server.endpoint.rpartition(":")
    return {"ARGO_KUBELET_HOST": host, "ARGO_KUBELET_PORT": port}


def listed(*of: dict) -> Answer:
    return found({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(of)})


def other(number: int) -> dict:
    """Another pod of the node, with as much in it as a pod has."""
    return pod("1", RUNNING) | {
        "metadata": {"name": f"other-{number}", "namespace": "flows", "annotations": {"big": 'a "{[x]}" ' * 800}}
    }


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, "ARGO_KUBELET_HOST"),
        ({"ARGO_KUBELET_HOST": ""}, "ARGO_KUBELET_HOST"),
        ({"ARGO_KUBELET_HOST": "h", "ARGO_KUBELET_PORT": "ten"}, "ARGO_KUBELET_PORT"),
        ({"ARGO_KUBELET_HOST": "h", "ARGO_KUBELET_PORT": "70000"}, "ARGO_KUBELET_PORT"),
    ],
)
def test_a_kubelet_that_is_not_named_rightly_is_an_input_error(api, server, environ, place):
    with pytest.raises(InputError) as caught:
        KubeletRuntime.from_pod(surroundings(api, **environ))
    assert caught.value.place == place


def test_a_certificate_that_nobody_has_signed_is_told_and_may_be_allowed(server, api, client_certificate):
    here = surroundings(api, **named(server))
    api.on(POD, found(pod("1", script.ended(0))))
    server.on(f"{LOG}?follow=true", Answer(200, b"text"))
    runtime = KubeletRuntime.from_pod(here)
    distrusting = Kubelet(replace(runtime._kubelet.credentials, ca=str(client_certificate[0])))
    trusting = Kubelet(replace(distrusting.credentials, verify=False))

    with pytest.raises(Permanent, match="not trusted") as caught:
        distrusting.open("get", f"{LOG}?follow=true", "nodes/proxy")
    assert "ARGO_KUBELET_INSECURE" in caught.value.remedy
    with trusting.open("get", f"{LOG}?follow=true", "nodes/proxy") as answer:
        assert answer.read1() == b"text"


@pytest.mark.parametrize(("value", "verified"), [("", True), ("false", True), ("true", False), ("1", False)])
def test_whether_a_certificate_is_looked_at_is_the_environment_s_to_say(server, api, value, verified):
    runtime = KubeletRuntime.from_pod(surroundings(api, **named(server), ARGO_KUBELET_INSECURE=value))

    assert runtime._kubelet.credentials.verify is verified


def test_without_the_api_server_the_kubelet_s_list_tells_of_main(server, runtime):
    server.on(PODS, listed(other(1), pod("1", waiting("ContainerCreating"))), listed(pod("2", RUNNING), other(1)))

    assert runtime.find_main(NEVER) == MAIN


def test_the_end_of_the_log_is_the_end_of_the_wait_and_nobody_asks_before(server, runtime):
    server.on(PODS, listed(pod("1", RUNNING)), listed(pod("1", RUNNING)), listed(pod("2", script.ended(3))))
    server.on(FOLLOWED, Answer(200, b"a line\n" * 1000, length=-1))

    assert runtime.wait(MAIN, NEVER) == ExitStatus(3)
    assert (server.asked[FOLLOWED], server.asked[PODS]) == (1, 3)


def test_while_main_runs_the_kubelet_is_asked_once(server, runtime):
    server.on(PODS, listed(pod("1", RUNNING)))
    server.on(FOLLOWED, Answer(200, b"", length=-1, hangs=True))
    cancel = Cancel()
    threading.Timer(0.5, cancel.set, [terminated()]).start()

    with pytest.raises(Terminated):
        runtime.wait(MAIN, cancel)
    assert runtime.wait(MAIN, NEVER, 0.01) is None
    assert (server.asked[FOLLOWED], server.asked[PODS]) == (1, 2)


def test_a_kubelet_that_goes_away_is_transient_and_is_followed_anew(server, runtime):
    server.on(PODS, listed(pod("1", RUNNING)), listed(pod("1", RUNNING)), listed(pod("2", script.ended(0))))
    server.on(FOLLOWED, Answer(200, b"some", length=1000), Answer(200, b"", length=-1))

    with pytest.raises(Unavailable):
        runtime.wait(MAIN, NEVER)
    assert runtime.wait(MAIN, NEVER) == ExitStatus(0)


@pytest.mark.parametrize(("status", "error", "remedy"), [
    (401, Unauthorized, "token has expired"), (403, Forbidden, "grant `get` on `nodes/proxy`"), (500, Unavailable, ""),
])  # fmt: skip
def test_what_the_kubelet_answers_is_told(server, runtime, status, error, remedy):
    server.on(PODS, Answer(status, b"Forbidden (user=x, verb=get, resource=nodes, subresource=proxy)"))

    with pytest.raises(error, match=f"get /pods: the kubelet answers {status}") as caught:
        runtime.find_main(NEVER)
    assert remedy in caught.value.remedy


def test_a_pod_that_is_not_on_this_node_is_not_waited_for(server, runtime):
    server.on(PODS, listed(other(1)))

    with pytest.raises(NotFound, match="has no pod 'p'") as caught:
        runtime.find_main(NEVER)
    assert "status.hostIP" in caught.value.remedy


@pytest.mark.parametrize("answer", [Answer(200, b"<html>"), Answer(200, b'{"items":[{"meta'), Answer(200, b"")])
def test_a_list_that_is_none_may_be_one_later(server, runtime, answer):
    server.on(PODS, answer)

    with pytest.raises(Unavailable):
        runtime.find_main(NEVER)


def _pieces(text: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


def test_of_a_full_node_s_list_one_pod_is_held():
    pods = [other(number) for number in range(200)]
    text = json.dumps({"kind": "PodList", "metadata": {}, "items": pods}, separators=(",", ":")).encode()
    tracemalloc.start()
    try:
        names = [one["metadata"]["name"] for one in _items(_pieces(text, 65536))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert names == [f"other-{number}" for number in range(200)]
    assert peak < len(text) / 2


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_list_is_read_in_whatever_pieces_it_comes(size):
    pods = [pod(str(number), RUNNING) | {"note": 'ä "items":[ ]}'} for number in range(5)]
    text = json.dumps({"metadata": {}, "items": pods}, separators=(",", ":"), ensure_ascii=False).encode()

    assert list(_items(_pieces(text, size))) == pods


def test_an_empty_list_is_a_list():
    for text in (b'{"items":[]}', b'{"items":null}'):
        assert list(_items(iter([text]))) == []
