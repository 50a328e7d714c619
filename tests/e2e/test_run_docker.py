"""``argoexec run --runtime docker`` as a process, on a real dockerd that has no bridge and no registry."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from runtimes.dockersandbox import RUN
from tests.e2e.killed import KILLER, lines_of, outputs, phases, resume
from tests.servers.dockerd import BUSYBOX, busybox

ENTRY = "entry:test"
"""An image with a command, arguments, a variable, a user and a working directory of its own."""


QUICKLY = {"ARGO_TERMINATION_GRACE_PERIOD_SECONDS": "1"}


@pytest.fixture(scope="module")
def entry(dockerd):
    dockerd.load(
        ENTRY, busybox(), 'ENTRYPOINT ["echo", "entry"]', 'CMD ["of", "the", "image"]', "ENV PATH=/bin WHO=image",
        "WORKDIR /tmp", "USER 1000",
    )  # fmt: skip


@pytest.fixture
def left(dockerd):
    """The containers of runs that are still there."""

    def ask() -> list[str]:
        return dockerd.docker("ps", "-a", "--filter", f"label={RUN}", "--format", "{{.Names}}").decode().split()

    yield ask
    assert ask() == []


@pytest.fixture
def run(runner, dockerd, left):
    def begin(template, *argv, status=0, **environ):
        known = {"DOCKER_HOST": dockerd.url} | QUICKLY
        return runner.run(template, "--runtime", "docker", *argv, status=status, **known | environ)

    return begin


def container(script, **more):
    return {"image": BUSYBOX, "command": ["sh", "-c"], "args": [script]} | more


def parameters(result):
    return {one["name"]: one.get("value") for one in result["outputs"].get("parameters", ())}


def stored(result, name):
    (found,) = [one for one in result["outputs"]["artifacts"] if one["name"] == name]
    return Path(found["fsspec"]["url"].removeprefix("file://"))


PLAIN = {"archive": {"none": {}}}


def test_main_is_a_container_of_its_image(run):
    result = run({"container": container("echo hello world; cat /etc/passwd")})

    assert (result["phase"], result["exitCode"], result["message"]) == ("Succeeded", 0, "")
    assert b"user:x:1000" in stored(result, "main-logs").read_bytes()
    assert stored(result, "main-logs").read_bytes().startswith(b"hello world\n")


def test_what_main_writes_is_stored_byte_by_byte(run):
    result = run({"container": container("printf 'a\\377b\\0c'")})

    assert stored(result, "main-logs").read_bytes() == b"a\xffb\0c"


def test_a_script_has_a_result(run):
    result = run({"script": {"image": BUSYBOX, "command": ["sh"], "source": "echo to-stderr >&2; echo $((6 * 7))"}})

    assert result["outputs"]["result"] == "42"


def test_inputs_come_in_and_outputs_of_the_base_layer_and_of_volumes_go_out(run):
    result = run({
        "inputs": {"artifacts": [{"name": "in", "path": "/in/text", "raw": {"data": "given"}}]},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "container": container(
            "cat /in/text > /tmp/n; mkdir /tmp/d; cp /in/text /tmp/d/f; ln -s d /tmp/link; cp /in/text /v/f; "
            "echo -n p > /v/p",
            volumeMounts=[{"name": "v", "mountPath": "/v"}],
        ),
        "outputs": {
            "parameters": [
                {"name": "n", "valueFrom": {"path": "/tmp/n"}},
                {"name": "p", "valueFrom": {"path": "/v/p"}},
            ],
            "artifacts": [
                {"name": "d", "path": "/tmp/link", **PLAIN},
                {"name": "t", "path": "/tmp/d"},
                {"name": "f", "path": "/v/f", **PLAIN},
                {"name": "o", "path": "/nothing/here", "optional": True},
            ],
        },
    })  # fmt: skip

    assert parameters(result) == {"n": "given", "p": "p"}
    assert (stored(result, "d") / "f").read_text() == "given"
    assert stored(result, "f").read_text() == "given"
    assert stored(result, "t").name == "t.tgz"


def test_the_image_gives_what_the_template_leaves_open(run, entry):
    result = run({"container": {"image": ENTRY}})
    assert stored(result, "main-logs").read_text() == "entry of the image\n"

    result = run({"container": {"image": ENTRY, "args": ["given"]}})
    assert stored(result, "main-logs").read_text() == "entry given\n"

    script = "echo $WHO $OWN $(pwd) $(id -u):$(id -g)"
    given = {"image": ENTRY, "command": ["sh", "-c", script], "env": [{"name": "OWN", "value": "mine"}]}
    result = run({"container": given})
    assert stored(result, "main-logs").read_text() == "image mine /tmp 1000:1000\n"

    context = {"runAsUser": 7, "runAsGroup": 8}
    result = run({"container": given | {"workingDir": "/new/one", "securityContext": context}})
    assert stored(result, "main-logs").read_text() == "image mine /new/one 7:8\n"


def test_init_containers_sidecars_and_main_share_volumes_and_network(run):
    mounted = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    result = run({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{"name": "first", **container("echo from-init > /v/init", **mounted)}],
        "sidecars": [
            {"name": "side", "mirrorVolumeMounts": True,
             **container("cp /v/init /v/copy; trap 'exit 0' TERM; while :; do sleep 0.1; done")},
        ],
        "container": container(
            "while ! [ -s /v/copy ]; do sleep 0.1; done; cat /v/copy; readlink /proc/self/ns/net", **mounted
        ),
    })  # fmt: skip

    init, network = stored(result, "main-logs").read_text().split()
    assert init == "from-init"
    assert network == os.readlink("/proc/self/ns/net")  # without a bridge it is the machine's


def test_containers_share_a_network_that_is_the_pod_s_own(run):
    mounted = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    report = "readlink /proc/self/ns/net > /v/{}"
    result = run({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "sidecars": [
            {"name": name, **container(f"{report.format(name)}; exec sleep 1000", **mounted)} for name in ("a", "b")
        ],
        "container": container(f"{report.format('main')}; while ! [ -s /v/b ]; do sleep 0.1; done", **mounted),
        "outputs": {"parameters": [{"name": one, "valueFrom": {"path": f"/v/{one}"}} for one in ("a", "b", "main")]},
    }, ARGOEXEC_DOCKER_NETWORK="none")  # fmt: skip

    found = set(parameters(result).values())
    assert len(found) == 1
    assert found != {os.readlink("/proc/self/ns/net")}


def test_sidecars_that_end_at_once_take_no_network_with_them(run):
    quick = [{"name": f"quick-{number}", **container("true")} for number in range(4)]

    assert run({"sidecars": quick, "container": container("true")}, ARGOEXEC_DOCKER_NETWORK="none")["exitCode"] == 0


def test_a_main_that_fails_is_failed_and_what_it_left_is_saved(run):
    result = run({
        "container": container("echo 1 > /tmp/n; exit 3"),
        "outputs": {"parameters": [{"name": "n", "valueFrom": {"path": "/tmp/n"}}]},
    }, status=3)  # fmt: skip

    assert (result["phase"], result["exitCode"]) == ("Failed", 3)
    assert parameters(result) == {"n": "1"}


def test_an_init_container_that_fails_keeps_main_from_starting(run):
    result = run(
        {"initContainers": [{"name": "first", **container("exit 4")}], "container": container("true")}, status=1
    )

    assert "'first' exited with code 4" in result["message"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"command": ["nosuchcommand"]}, "nosuchcommand"),
        ({"image": "nosuch:1", "imagePullPolicy": "Never"}, "is not here"),
    ],
)
def test_a_main_that_cannot_be_started_is_an_error(run, given, said):
    result = run({"container": container("true", **given)}, status=1)

    assert result["phase"] == "Error"
    assert said in result["message"]


def test_an_image_without_a_registry_is_an_error_that_names_it(run):
    result = run(
        {"container": container("true", image="localhost:1/nosuch:1")}, status=1, EXECUTOR_RETRY_BACKOFF_STEPS="1"
    )

    assert result["phase"] == "Error"
    assert "localhost:1/nosuch:1" in result["message"]


def test_lines_are_shown_while_main_runs_and_ctrl_c_leaves_no_container(runner, start, dockerd, left):
    program = runner.start(
        {"container": container("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done"),
         "sidecars": [{"name": "side", **container("echo up; exec sleep 1000")}]},
        "-o", "text", "--runtime", "docker", DOCKER_HOST=dockerd.url, ARGO_TERMINATION_GRACE_PERIOD_SECONDS="5",
    )  # fmt: skip
    program.await_line("main │ ready")
    program.await_line("side │ up")
    assert len(left()) == 2
    program.signal_group(signal.SIGINT)
    program.end(3)

    assert "main │ bye" in program.stdout


def test_ctrl_c_during_an_init_container_leaves_none(runner, dockerd, left):
    program = runner.start(
        {"initContainers": [{"name": "first", **container("echo ready; exec sleep 1000")}],
         "container": container("true")},
        "-o", "text", "--runtime", "docker", DOCKER_HOST=dockerd.url,
    )  # fmt: skip
    program.await_line("first │ ready")
    program.signal_group(signal.SIGINT)

    program.end(3)


def test_files_of_main_belong_to_who_wrote_them(run, dockerd):
    result = run({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "container": container("touch /v/f", securityContext={"runAsUser": 1234, "runAsGroup": 4321},
                               volumeMounts=[{"name": "v", "mountPath": "/v"}]),
    })  # fmt: skip

    status = (Path(result["workdir"]) / "pod/volumes/v/f").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


# --- a run that was killed --------------------------------------------------------------------------------------------

V = [{"name": "v", "mountPath": "/v"}]
OF_ALL_KINDS = {
    "inputs": {"artifacts": [{"name": "in", "path": "/in/it", "raw": {"data": "input"}}]},
    "volumes": [{"name": "v", "emptyDir": {}}],
    "initContainers": [{"name": "before", **container("echo ran >> /v/inits", volumeMounts=V)}],
    "sidecars": [{"name": "side", **container("echo ran >> /v/sides; exec sleep 3600", volumeMounts=V)}],
    "script": {
        "image": BUSYBOX, "command": ["sh", "-e"], "volumeMounts": V,
        "source": "echo ran >> /v/mains; cat /in/it > /tmp/p; mkdir -p /srv/tree; echo deep > /srv/tree/f; echo out\n",
    },
    "outputs": {
        "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
        "artifacts": [{"name": "volume", "path": "/v/mains", **PLAIN}, {"name": "tree", "path": "/srv/tree"}],
    },
}  # fmt: skip


@pytest.fixture
def killed(runner, dockerd, left):
    def at(name, template, *argv, **more):
        program = runner.start(
            template, "--runtime", "docker", "--workdir", name, *argv, name=name, **QUICKLY, **more,
            DOCKER_HOST=dockerd.url,
        )  # fmt: skip
        program.end(-signal.SIGKILL)
        return runner.directory / name

    return at


def ran(directory, who):
    path = directory / "pod/volumes/v" / who
    return path.read_text().count("ran\n") if path.exists() else 0


def test_a_run_that_is_killed_in_any_phase_is_resumed_and_starts_nothing_twice(run, start, dockerd, killed):
    model = run(OF_ALL_KINDS, "--workdir", "model")
    lines = lines_of(Path(model["workdir"]))
    places = [n for n, line in enumerate(lines, 1) if line["kind"] == "enter" or line.get("phase") == "starting"]
    assert len(places) > len({line["phase"] for line in lines if line["kind"] == "enter"})
    for at in places:
        directory = killed(f"at-{at}", OF_ALL_KINDS, program=KILLER, KILLED_AT=str(at))

        result = resume(start, directory, **QUICKLY, DOCKER_HOST=dockerd.url)

        assert (outputs(result), phases(result)) == (outputs(model), phases(model)), lines[at - 1]
        assert [ran(directory, who) for who in ("inits", "mains", "sides")] == [1, 1, 1], lines[at - 1]


def test_main_outlives_a_run_that_is_killed_and_is_waited_for_again(runner, start, dockerd, left):
    script = "echo before; echo ran >> /v/mains; while ! [ -e /v/go ]; do sleep 0.1; done; echo after; exit 3"
    template = {"volumes": [{"name": "v", "emptyDir": {}}], "container": container(script, volumeMounts=V)}
    program = runner.start(
        template, "-o", "text", "--runtime", "docker", "--workdir", "w", DOCKER_HOST=dockerd.url,
    )  # fmt: skip
    program.await_line("main │ before")
    program.signal(signal.SIGKILL)
    program.end(-signal.SIGKILL)
    directory = runner.directory / "w"
    assert len(left()) == 1

    again = start(runner.directory, "run", "--resume", directory, "-o", "text", DOCKER_HOST=dockerd.url)
    again.await_line("main │ before")
    (directory / "pod/volumes/v/go").touch()
    again.end(3)

    assert ran(directory, "mains") == 1
    assert "main │ after" in again.stdout
    [log] = (directory / "store").rglob("main.log")
    assert log.read_text() == "before\nafter\n"


def test_a_main_that_was_never_started_or_removed_meanwhile_is_lost(runner, start, dockerd, left, killed):
    directory = killed("begun", OF_ALL_KINDS, "--fault", "starting:sandbox.start(main):kill")
    result = resume(start, directory, status=1, **QUICKLY, DOCKER_HOST=dockerd.url)
    assert "main was lost: its container is not there — run it again" in result["message"]
    assert ran(directory, "mains") == 0

    directory = killed("removed", OF_ALL_KINDS, "--fault", "waiting:runtime.find_main:kill")
    dockerd.docker("rm", "-f", *left())
    result = resume(start, directory, status=1, **QUICKLY, DOCKER_HOST=dockerd.url)
    assert "main was lost: its container is not there" in result["message"]
    assert ran(directory, "mains") == 1
    assert result["outputs"]["artifacts"][0]["name"] == "volume"  # what main wrote into volumes outlives its container


def test_a_run_is_resumed_with_the_daemon_that_has_its_containers_and_no_other(runner, start, dockerd, killed):
    directory = killed("wrong", OF_ALL_KINDS, "--fault", "waiting:runtime.find_main:kill")
    before = lines_of(directory)

    away = start(runner.directory, "run", "--resume", directory, DOCKER_HOST="unix:///nowhere.sock").end()
    assert away.process.returncode in {1, 2}
    assert "no socket /nowhere.sock" in away.stderr
    mark = directory / "pod/docker.json"
    whole = mark.read_text()
    mark.write_text(json.dumps(json.loads(whole) | {"daemon": "another"}))
    other = start(runner.directory, "run", "--resume", directory, DOCKER_HOST=dockerd.url).end(2)
    assert "is not the one that runs its containers" in other.stderr
    mark.write_text(whole)

    assert lines_of(directory) == before
    (runner.directory / "link").symlink_to(directory)
    result = resume(start, runner.directory / "link", **QUICKLY, DOCKER_HOST=dockerd.url)
    assert result["phase"] == "Succeeded"
    assert ran(directory, "mains") == 1


def test_a_run_that_has_ended_needs_no_daemon_to_say_what_it_was(run, start):
    first = run({"container": container("exit 3")}, "--workdir", "w", status=3)

    again = resume(start, Path(first["workdir"]), status=3, DOCKER_HOST="unix:///nowhere.sock")

    assert [again[key] for key in ("phase", "message", "exitCode")] == ["Failed", first["message"], 3]


# --- without a daemon -------------------------------------------------------------------------------------------------


def refused(runner, host):
    program = runner.start({"container": container("true")}, "--runtime", "docker", DOCKER_HOST=host).end()
    assert program.process.returncode in {1, 2}
    assert not (runner.directory / ".argoexec").exists()
    return program.stderr


def test_a_socket_that_is_not_there_is_said_before_anything_is_written(runner, tmp_path):
    said = refused(runner, f"unix://{tmp_path}/none")

    assert f"no socket {tmp_path}/none" in said
    assert "start docker on this machine" in said
    assert "ARGO_CONTAINER_RUNTIME_EXECUTOR" not in said


@pytest.mark.parametrize("host", ["tcp://10.0.0.1:2375", "ssh://somebody@somewhere"])
def test_another_machine_s_daemon_cannot_mount_our_directories(runner, host):
    assert "another machine's daemon" in refused(runner, host)


def test_a_daemon_that_is_down_is_said(runner, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))

    assert "no docker daemon listens" in refused(runner, f"unix://{tmp_path}/s")
