"""Scenarios in which somebody or something stops a container: sidecars, deadlines, deletion, the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.pods.case import BOTH, GIVEN, MOUNT, STORED, VOLUME, Case, Expected, Json, Scenario, shell
from tests.pods.play import in_seconds
from tests.pods.scenarios import parameter

if TYPE_CHECKING:
    from tests.pods.play import Play
    from tests.pods.seen import Seen

GRACE = {"ARGO_TERMINATION_GRACE_PERIOD_SECONDS": "3"}
"""Seconds between TERM and KILL, by the controller's ``executor.env``."""

OBEDIENT = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"
STUBBORN = "trap '' TERM; while :; do sleep 1; done"
UP = "touch /work/up"
UNTIL_UP = "until [ -e /work/up ]; do usleep 20000; done"
"""A main that ends before the kubelet has begun a sidecar leaves one that nobody stops: main waits for its trap."""


def _with(main: str, case: Case, **more: Any) -> Json:
    """A main with a volume, and the parameter ``p`` in it."""
    return {
        "name": "t",
        "container": shell(main, volumeMounts=[MOUNT]),
        "volumes": [VOLUME],
        "outputs": {"parameters": [{"name": "p", "valueFrom": {"path": "/work/p"}}]},
        "archiveLocation": {"s3": case.home},
    } | more


# --- sidecars ---------------------------------------------------------------------------------------------------------


def _sidecars(case: Case) -> Json:
    sidecars = [
        {"name": "first", "mirrorVolumeMounts": True} | shell("echo seen > /work/first"),
        {"name": "obedient", "mirrorVolumeMounts": True} | shell(OBEDIENT.replace("TERM;", f"TERM; {UP};", 1)),
    ]
    # Main waits for the one that ends first, and for the other: a volume is all they share.
    main = f"{UNTIL_UP}; until [ -s /work/first ]; do usleep 20000; done; cp /work/first /work/p"
    return _with(main, case, sidecars=sidecars)


def _stubborn(case: Case) -> Json:
    stubborn = shell(STUBBORN.replace("TERM;", f"TERM; {UP};", 1))
    sidecars = [{"name": "stubborn", "mirrorVolumeMounts": True} | stubborn]
    return _with(f"{UNTIL_UP}; echo x > /work/p", case, sidecars=sidecars)


def _injected(case: Case) -> Json:
    """A sidecar of which the template knows nothing (upstream d2f7162ac2)."""
    return _with("echo x > /work/p", case)


PROXY = """
import asyncio, signal, sys

async def copy(reader, writer):
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()

async def serve(reader, writer):
    other_reader, other_writer = await asyncio.open_connection(*sys.argv[2].rsplit(":", 1))
    await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, *sys.argv[1].rsplit(":", 1))
    print("listening", flush=True)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()

asyncio.run(main())
"""
"""A mesh proxy: what goes to its port goes on to the store; TERM ends it at once."""


def _through_mesh(case: Case) -> Json:
    template = _with("echo x > /work/p; echo data > /work/data", case)
    template["outputs"]["artifacts"] = [{"name": "a", "path": "/work/data"}]
    template["archiveLocation"] = {"s3": case.home | {"endpoint": case.stage.proxies[case.runtime]}}
    return template


def _mesh_proxy(case: Case) -> Json:
    argv = ["python3", "-c", PROXY, case.stage.proxies[case.runtime], case.stage.s3["endpoint"]]
    proxy = {"name": "istio-proxy", "image": case.stage.executor_image, "imagePullPolicy": "Never", "command": argv}
    return {"injected": (proxy,)}


def _through_mesh_expected(case: Case) -> Expected:
    artifact = case.reported("a", "/work/data", "a.tgz")
    if "endpoint" in artifact["s3"]:
        artifact["s3"]["endpoint"] = case.stage.proxies[case.runtime]
    return Expected(
        outputs=parameter("x") | {"artifacts": [artifact]},
        objects={"a.tgz": [("data", "file", 0o644, "data\n")]},
        others={"istio-proxy": 0},
    )


# --- deadlines and termination ----------------------------------------------------------------------------------------

STOPPABLE = "trap 'echo stopped > /work/p; exit 7' TERM; echo ready; while :; do sleep 1 & wait $!; done"
"""Main says when it can be stopped, and leaves its output when it is."""


def _stoppable(case: Case) -> Json:
    return _with(STOPPABLE, case)


def _stopped(*words: str, **more: Any) -> Any:
    return lambda _: Expected(main=7, outputs=parameter("stopped"), message=words, **more)


def _deadline_given(case: Case) -> Json:
    return {"deadline": in_seconds(20)}


def _deadline_pushed(play: Play) -> None:
    play.await_line("ready")
    play.push_deadline(in_seconds(2))


def _terminate(play: Play) -> None:
    play.await_line("ready")
    play.push_deadline()


def _terminate_by_file(play: Play) -> None:
    play.await_line("ready")
    play.push_deadline(tell=False)


def _delete(grace: int) -> Any:
    def during(play: Play) -> None:
        play.await_line("ready")
        play.await_wait()
        play.delete(grace)

    return during


def _deleted(_: Case) -> Expected:
    """Main has ended by the kubelet's own SIGTERM: if `wait` sees that first, it has nothing to say."""
    return Expected(main=7, outputs=parameter("stopped"), message=None)


def _deleted_at_once(_: Case) -> Expected:
    """Two seconds, which is the kubelet's least, are enough or are not: what is reported is whole, or `wait` failed."""

    def whole_or_failed(seen: Seen) -> None:
        parameters = (seen.outputs or {}).get("parameters", [])
        assert [one["value"] for one in parameters if "value" in one] in ([], ["stopped"])
        assert seen.outputs == parameter("stopped") or seen.code("wait") != 0

    return Expected(wait=None, main=None, outputs=..., message=None, also=whole_or_failed)


# --- the kernel -------------------------------------------------------------------------------------------------------


def _out_of_memory(case: Case) -> Json:
    template = _with("echo x > /work/p; exec tail /dev/zero", case)
    template["container"]["resources"] = {"limits": {"memory": "32Mi"}}
    return template


def _out_of_memory_expected(case: Case) -> Expected:
    """A busy dockerd may miss the kernel's word: then its node says `Error`, and nobody can know better."""

    def as_the_node_says(seen: Seen) -> None:
        reason = seen.ended("main")["reason"]
        assert reason == "OOMKilled" or (reason == "Error" and case.stage.flavour == "docker")
        words = ("OOMKilled", "limits.memory")
        assert [one in seen.message for one in words] == [reason == "OOMKilled" for _ in words]

    return Expected(main=137, outputs=parameter("x"), message=None, also=as_the_node_says)


SCENARIOS = (
    Scenario(
        "sidecars",
        _sidecars,
        lambda _: Expected(outputs=parameter("seen"), others={"first": 0, "obedient": 0}),
    ),
    # KILL from inside a PID namespace does nothing to its first process: who has only that way cannot end it.
    Scenario(
        "stubborn-sidecar",
        _stubborn,
        lambda _: Expected(outputs=parameter("x"), others={"stubborn": 137}),
        options=lambda _: {"executor_env": GRACE},
        runtimes=BOTH,
    ),
    Scenario(
        "injected-sidecar",
        _injected,
        lambda _: Expected(outputs=parameter("x"), others={"injected": 0}),
        options=lambda _: {"injected": ({"name": "injected", "imagePullPolicy": "Never"} | shell(OBEDIENT),)},
    ),
    Scenario("through-mesh", _through_mesh, _through_mesh_expected, options=_mesh_proxy),
    Scenario(
        "deadline-given", _stoppable, _stopped("deadline"), options=_deadline_given, contracts=GIVEN
    ),
    Scenario("deadline-pushed", _stoppable, _stopped("deadline"), _deadline_pushed, contracts=STORED),
    Scenario("terminated", _stoppable, _stopped("terminated"), _terminate, contracts=STORED, every_contract=True),
    Scenario("terminated-by-file", _stoppable, _stopped("terminated"), _terminate_by_file, contracts=STORED),
    Scenario("deleted", _stoppable, _deleted, _delete(30), deleted=True),
    Scenario("deleted-at-once", _stoppable, _deleted_at_once, _delete(1), deleted=True),
    Scenario(
        "out-of-memory",
        _out_of_memory,
        _out_of_memory_expected,
    ),
)  # fmt: skip
