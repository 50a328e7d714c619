"""The docker sandbox against a daemon by script: pulling, for which no registry is at hand."""

from __future__ import annotations

import json
import threading
from functools import partial
from urllib.parse import quote_plus

import pytest

from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.errors import BadRequest, InputError, Permanent, Terminated, Unavailable
from lifecycle.ports import ContainerSpec, ExitStatus
from runtimes.docker import NAME, UID
from runtimes.dockerimages import fetch
from runtimes.dockersandbox import RUN, DockerSandbox
from tests.servers.dockerd import BUSYBOX
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


def environ(daemon):
    return {"DOCKER_HOST": daemon.url.replace("http", "tcp")}


@pytest.fixture
def sandbox(daemon, tmp_path):
    said: list[bytes] = []
    made = DockerSandbox(tmp_path, "pod-1", lambda _, line: said.append(line), environ(daemon))
    made.said = said
    return made


def test_an_image_that_is_not_here_is_pulled_and_a_person_is_told(daemon, sandbox):
    daemon.on(PULL, Answer(body=b'{"status": "Pulling"}\n{"status": "Download complete"}\n'))

    fetch(sandbox._daemon, IMAGE, NEVER, partial(sandbox._say, IMAGE))

    assert sandbox.said == [
        b"[pulling the image registry.test/a/b:1]", b"[the image registry.test/a/b:1 is here]",
    ]  # fmt: skip


def test_an_image_that_is_here_is_not_pulled_unless_the_template_says_so(daemon, sandbox):
    daemon.on(f"/v1.41/images/{IMAGE.image}/json", Answer(body=b"{}"))
    daemon.on(PULL, Answer(body=b'{"status": "Pulling"}\n'))

    for pull, pulled in (("", False), ("IfNotPresent", False), ("Never", False), ("Always", True)):
        fetch(sandbox._daemon, ContainerSpec("main", (), {}, image=IMAGE.image, pull=pull), NEVER, str)
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


# --- what a killed run has left, with a real daemon -------------------------------------------------------------------


def spec(name, *argv):
    return ContainerSpec(name, argv, {}, image=BUSYBOX)


@pytest.fixture
def run(dockerd, tmp_path):
    """Makes the sandbox of one run, again and again: the one before was killed. Nothing is left in the end."""

    made = []

    def begin(url=dockerd.url):
        made.append(DockerSandbox(tmp_path, "pod-1", None, {"DOCKER_HOST": url}))
        return made[-1]

    yield begin
    begin().close()
    for one in made:
        if one._daemon._made:
            one._daemon._made.close()
    assert not left(dockerd, tmp_path)


def left(dockerd, directory):
    shown = ["ps", "-a", "--filter", f"label={RUN}={directory}", "--format", "{{.Names}} {{.State}}"]
    return dict(line.rpartition("-")[2].split() for line in dockerd.docker(*shown).decode().splitlines())


def test_what_runs_or_has_ended_is_taken_over_as_it_is(run, dockerd, tmp_path):
    first = run()
    ended, running = first.start(spec("ended", "sh", "-c", "exit 3")), first.start(spec("running", "sleep", "1000"))
    first.runtime().wait(ended, NEVER)

    second = run()

    assert [second.start(spec("ended", "false")), second.start(spec("running", "false"))] == [ended, running]
    assert second.run_init(spec("ended", "false"), NEVER) == ExitStatus(3)
    assert left(dockerd, tmp_path) == {"ended": "exited", "running": "running"}


def test_an_init_container_that_still_runs_is_waited_for(run, dockerd):
    init = run().start(spec("init", "sh", "-c", "until [ -e /go ]; do sleep 0.05; done; exit 4"))
    found: list[ExitStatus] = []
    second = run()
    waiting = threading.Thread(target=lambda: found.append(second.run_init(spec("init", "false"), NEVER)))
    waiting.start()
    dockerd.docker("exec", init.id, "touch", "/go")
    waiting.join(60)

    assert found == [ExitStatus(4)]


def test_what_was_only_made_or_could_not_be_started_is_made_again(run, dockerd):
    first = run()
    with pytest.raises(BadRequest, match="cannot be started"):
        first.start(spec("side", "nosuch"))
    dockerd.docker("create", "--network", "none", "--name", f"{first._names}-other", BUSYBOX, "false")
    second = run()

    for name in ("side", "other"):
        assert second.runtime().wait(second.start(spec(name, "sh", "-c", "exit 5")), NEVER) == ExitStatus(5)


def test_a_main_that_was_only_made_is_lost_and_so_is_one_that_is_not_there(run, dockerd):
    first = run()
    first.start(spec("side", "sleep", "1000"))
    labels = [word for key, value in (first._labels | first._own | {NAME: "main"}).items()
              for word in ("--label", f"{key}={value}")]  # fmt: skip
    made = dockerd.docker("create", "--network", "none", *labels, BUSYBOX, "true").decode().strip()
    runtime = run().runtime()
    main = runtime.find_main(NEVER)
    status = runtime.wait(main, NEVER)
    assert (status.reason, status.message) == (
        "lost", "main was lost: it was being started when the executor was killed",
    )  # fmt: skip

    dockerd.docker("rm", made)
    runtime = run().runtime()
    main = runtime.find_main(NEVER)
    assert runtime.wait(main, NEVER).message == "main was lost: its container is not there"
    with pytest.raises(Permanent, match="has been removed"):
        runtime.open_file(main, "/etc/passwd")


def test_a_close_that_fails_leaves_what_the_next_one_needs(run, dockerd, tmp_path):
    first = run()
    first.start(spec("side", "sleep", "1000"))

    with pytest.raises(Unavailable, match="may be left") as caught:
        run("tcp://127.0.0.1:1").close()
    assert f"label={UID}={first._labels[UID]}" in caught.value.remedy
    assert left(dockerd, tmp_path) == {"side": "running"}

    run().close()
    assert left(dockerd, tmp_path) == {}
    run("tcp://127.0.0.1:1").close()  # nothing is there, nobody is asked


def test_a_container_whose_making_was_not_answered_is_removed_too(run, dockerd, tmp_path):
    first = run()
    first.start(spec("side", "sleep", "1000"))
    first._made.clear()

    first.close()
    assert left(dockerd, tmp_path) == {}


def test_another_daemon_than_the_one_that_has_them_is_refused(run, dockerd, tmp_path):
    DockerSandbox.check({"DOCKER_HOST": dockerd.url}, tmp_path)
    run().start(spec("side", "sleep", "1000"))
    DockerSandbox.check({"DOCKER_HOST": dockerd.url}, tmp_path)
    mark = tmp_path / "docker.json"
    whole = mark.read_text()

    mark.write_text(json.dumps(json.loads(whole) | {"daemon": "another"}))
    with pytest.raises(InputError, match="is not the one that runs its containers"):
        DockerSandbox.check({"DOCKER_HOST": dockerd.url}, tmp_path)
    mark.write_text(whole[:9])
    with pytest.raises(InputError, match="not what a run leaves"):
        DockerSandbox.check({"DOCKER_HOST": dockerd.url}, tmp_path)
    mark.write_text(whole)


def test_a_run_of_the_same_name_in_the_same_place_is_another_run(run, dockerd, tmp_path):
    old = run()
    old.start(spec("side", "sleep", "1000"))
    mark = (tmp_path / "docker.json").read_bytes()
    (tmp_path / "docker.json").unlink()  # somebody has removed the work dir
    new = run()

    assert new.runtime().others() == []
    new.start(spec("side", "sleep", "1000"))
    new.close()
    assert left(dockerd, tmp_path) == {"side": "running"}
    (tmp_path / "docker.json").write_bytes(mark)
