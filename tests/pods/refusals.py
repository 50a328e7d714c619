"""Scenarios that must fail: early where that is possible, and with a message that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.pods.case import MOUNT, NEITHER, VOLUME, Case, Expected, Json, Scenario, shell
from tests.pods.scenarios import parameter
from tests.servers.dockerd import BUSYBOX

if TYPE_CHECKING:
    from tests.pods.seen import Seen

NOBODY = "nobody"
"""A service account that may do nothing."""

FOREVER = 600
"""Seconds that main would run if nothing stopped it: more than a scenario has."""


def _in_base_layer(case: Case) -> Json:
    return {
        "name": "t",
        "container": shell(f"echo x > /p; sleep {FOREVER} & wait $!"),
        "outputs": {"parameters": [{"name": "p", "valueFrom": {"path": "/p"}}]},
    }


def _script_in_base_layer(case: Case) -> Json:
    """With an init container, main need not even start."""
    template = _in_base_layer(case)
    del template["container"]
    return template | {"script": {"image": BUSYBOX, "command": ["sh"], "source": "echo never"}}


def _early(seen: Seen) -> None:
    assert seen.seconds < FOREVER / 4, "main ran on, although its outputs were lost from the start"


def _early_expected(case: Case) -> Expected:
    outputs = {"parameters": [{"name": "p", "valueFrom": {"path": "/p"}}]}
    message = (case.runtime, "/p", "emptyDir")
    return Expected(wait=1, main=None, outputs=outputs, message=message, also=_early)


def _required(case: Case) -> Json:
    return {
        "name": "t",
        "container": shell("echo x > /work/p", volumeMounts=[MOUNT]),
        "volumes": [VOLUME],
        "outputs": {
            "parameters": [{"name": name, "valueFrom": {"path": f"/work/{name}"}} for name in ("p", "forgotten")],
            "artifacts": [{"name": "lost", "path": "/work/lost"}],
        },
        "archiveLocation": {"s3": case.home},
    }


def _required_expected(_: Case) -> Expected:
    forgotten = {"name": "forgotten", "valueFrom": {"path": "/work/forgotten"}}
    outputs = {"parameters": [*parameter("x")["parameters"], forgotten]}
    return Expected(wait=1, outputs=outputs, message=("forgotten", "artifact lost"))


def _input(case: Case) -> Json:
    return {
        "name": "t",
        "inputs": {"artifacts": [{"name": "needed", "path": "/in/needed", "s3": case.home | {"key": "no/such/key"}}]},
        "container": shell("echo never"),
        "archiveLocation": {"s3": case.home},
    }


def _unreadable_image(case: Case) -> Json:
    return {"name": "t", "container": shell("true") | {"image": "no-such-image:test"}}


def _no_command(case: Case) -> Json:
    return {"name": "t", "container": {"image": BUSYBOX, "command": ["/no/such/program"]}}


def _reported(case: Case) -> Json:
    return {
        "name": "t",
        "container": shell("echo x > /work/p", volumeMounts=[MOUNT]),
        "volumes": [VOLUME],
        "outputs": {"parameters": [{"name": "p", "valueFrom": {"path": "/work/p"}}]},
    }


def _forbidden(case: Case) -> Expected:
    """Whichever it misses first, it is named by verb and resource."""
    words: dict[str, tuple[str, ...]] = {
        "docker": ("patch", "pods"), "pns": ("pods",), "k8sapi": ("pods",), "kubelet": ("nodes/proxy",),
    }  # fmt: skip
    return Expected(wait=1, main=None, message=("403", *words[case.runtime]))


def _scenario(name: str, template: Any, expected: Any, **more: Any) -> Scenario:
    return Scenario(name, template, expected if callable(expected) else lambda _: expected, **more)


SCENARIOS = (
    _scenario(
        "base-layer-refused",
        _in_base_layer,
        _early_expected,
        runtimes=NEITHER,
    ),
    _scenario(
        "base-layer-refused-by-init",
        _script_in_base_layer,
        lambda case: Expected(init=1, wait=None, main=None, message=(case.runtime, "/p", "volume")),
        runtimes=NEITHER,
    ),
    _scenario("required-outputs", _required, _required_expected),
    _scenario("required-input", _input, Expected(init=1, wait=None, main=None, message=("needed", "no/such/key"))),
    _scenario("no-image", _unreadable_image, Expected(wait=1, main=None, message=("no-such-image:test",)), stuck=True),
    _scenario(
        "no-command",
        _no_command,
        Expected(wait=0, main=None, message=("main could not be started", "/no/such/program")),
    ),
    _scenario("forbidden", _reported, _forbidden, account=NOBODY),
)
