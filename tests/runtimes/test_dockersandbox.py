"""The docker sandbox against a daemon by script: pulling, for which no registry is at hand."""

from __future__ import annotations

import json
import threading
from urllib.parse import quote_plus

import pytest

from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.errors import BadRequest, Terminated, Unavailable
from lifecycle.ports import ContainerSpec
from runtimes.dockersandbox import DockerSandbox
from tests.servers.httpd import Answer, Httpd

IMAGE = ContainerSpec("main", ("true",), {}, image="registry.test/a/b:1")
PULL = "/v1.41/images/create?fromImage=registry.test%2Fa%2Fb&tag=1"
NONE = Answer(404, b'{"message": "No such image"}')


class Daemon(Httpd):
    """Has no image, and none of what comes after it."""

    def __init__(self) -> None:
        super().__init__()
        self.on("/version", Answer(body=b'{"ApiVersion": "1.41"}'))
        self.on(f"/v1.41/images/{IMAGE.image}/json", NONE)

    def asked_to(self, target: str) -> bool:
        return any(one.target == target for one in self.requests)


@pytest.fixture
def daemon(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))  # no credentials of a person's
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def sandbox(daemon, tmp_path):
    said: list[bytes] = []
    made = DockerSandbox(
        tmp_path, "pod-1", lambda _, line: said.append(line), {"DOCKER_HOST": daemon.url.replace("http", "tcp")}
    )
    made.said = said
    yield made
    made.close()


def test_an_image_that_is_not_here_is_pulled_and_a_person_is_told(daemon, sandbox):
    daemon.on(PULL, Answer(body=b'{"status": "Pulling"}\n{"status": "Download complete"}\n'))

    sandbox._fetch(IMAGE, NEVER)

    assert sandbox.said == [
        b"[pulling the image registry.test/a/b:1]", b"[the image registry.test/a/b:1 is here]",
    ]  # fmt: skip


def test_an_image_that_is_here_is_not_pulled_unless_the_template_says_so(daemon, sandbox):
    daemon.on(f"/v1.41/images/{IMAGE.image}/json", Answer(body=b"{}"))
    daemon.on(PULL, Answer(body=b'{"status": "Pulling"}\n'))

    for pull, pulled in (("", False), ("IfNotPresent", False), ("Never", False), ("Always", True)):
        sandbox._fetch(ContainerSpec("main", (), {}, image=IMAGE.image, pull=pull), NEVER)
        assert daemon.asked_to(PULL) is pulled


def test_a_pull_that_breaks_off_may_be_tried_again(daemon, sandbox):
    daemon.on(PULL, Answer(body=b'{"status": "Pulling"}\n{"error": "unexpected EOF", "errorDetail": {}}\n'))

    with pytest.raises(Unavailable, match="unexpected EOF"):
        sandbox.start(IMAGE)


def test_an_image_that_no_registry_has_is_a_mistake(daemon, sandbox):
    daemon.on(PULL, Answer(404, b'{"message": "pull access denied"}'))

    with pytest.raises(BadRequest, match="pull access denied") as caught:
        sandbox.start(IMAGE)
    assert "docker login" in caught.value.remedy


def test_a_pull_ends_at_once_when_the_run_is_cancelled(daemon, sandbox):
    daemon.on(PULL, Answer(body=b'{"status": "Pulling"}\n', length=-1, hangs=True))
    cancel = Cancel()
    threading.Thread(target=lambda: (daemon.await_requests(3), cancel.set(terminated()))).start()

    with pytest.raises(Terminated):
        sandbox.start(IMAGE, cancel)


def test_a_container_whose_network_has_ended_meanwhile_is_made_again(daemon, sandbox):
    name = sandbox._names
    daemon.on("/v1.41/info", Answer(body=b"{}"))
    daemon.on("/v1.41/networks/bridge", Answer(body=b"{}"))
    daemon.on(f"/v1.41/images/{IMAGE.image}/json", Answer(body=b"{}"))
    filters = quote_plus(json.dumps({"label": [f"{key}={value}" for key, value in sandbox._labels.items()]}))
    held = [{"Id": "holder", "Created": 1, "Labels": {}}]
    listing = f"/v1.41/containers/json?all=0&filters={filters}"
    daemon.on(listing, Answer(body=json.dumps(held).encode()), Answer(body=b"[]"))
    daemon.on(
        f"/v1.41/containers/create?name={name}-main", Answer(201, b'{"Id": "first"}'), Answer(201, b'{"Id": "second"}')
    )
    daemon.on("/v1.41/containers/first/start", Answer(409, b'{"message": "cannot join"}'))
    daemon.on("/v1.41/containers/holder/json", Answer(body=b'{"State": {"Running": false}}'))
    daemon.on("/v1.41/containers/first?force=1&v=1", Answer(204))
    daemon.on("/v1.41/containers/second/start", Answer(204))

    assert sandbox.start(IMAGE).id == "second"
    made = [json.loads(one.body) for one in daemon.requests if "/create?name" in one.target]
    assert [one["HostConfig"]["NetworkMode"] for one in made] == ["container:holder", "bridge"]
    assert [one.get("Hostname") for one in made] == [None, "pod-1"]
