"""A person's credentials for registries, as docker keeps them, against daemons that tell what they were told."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.errors import BadRequest, LifecycleError
from lifecycle.ports import ContainerSpec
from runtimes.dockerapi import Daemon
from runtimes.dockersandbox import DockerSandbox
from tests.faults.canaries.canary import Canaries, told
from tests.faults.canaries.echo import DockerEcho

IMAGE = "registry.invalid/team/image:1"
ANSWERS = ("401", "403", "404", "500", "text 403", "reason 403", "garbage", "not http", "progress", "redirect",
           "version 403", "version text 403", "version reason 403")  # fmt: skip
WAYS: dict[str, Any] = {}


def way(make: Any) -> Any:
    """Register one: it gives the configuration of docker."""
    WAYS[make.__name__.replace("_", "-")] = make
    return make


def _program(directory: Path, script: str) -> dict[str, Any]:
    """A helper that keeps the credentials of every registry."""
    path = directory / "docker-credential-canary"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return {"credsStore": "canary"}


def _kept(directory: Path, text: str) -> Path:
    path = directory / "kept"
    path.write_text(text)
    return path


@way
def password(canaries: Canaries, directory: Path) -> Any:
    login = f"u:{canaries.plant('auths.auth')}"
    return {"auths": {"registry.invalid": {"auth": base64.b64encode(login.encode()).decode()}}}


@way
def identity_token(canaries: Canaries, directory: Path) -> Any:
    return {"auths": {"registry.invalid": {"identitytoken": canaries.plant("auths.identitytoken")}}}


@way
def headers_of_every_request(canaries: Canaries, directory: Path) -> Any:
    return {"HttpHeaders": {"X-Meta-Token": canaries.plant("HttpHeaders")}}


@way
def helper(canaries: Canaries, directory: Path) -> Any:
    kept = {"ServerURL": "registry.invalid", "Username": "u", "Secret": canaries.plant("credsStore")}
    return _program(directory, f"cat '{_kept(directory, json.dumps(kept))}'")


@way
def helper_with_a_token(canaries: Canaries, directory: Path) -> Any:
    kept = {"ServerURL": "registry.invalid", "Username": "<token>", "Secret": canaries.plant("credsStore token")}
    return _program(directory, f"cat '{_kept(directory, json.dumps(kept))}'")


@way
def helper_that_fails(canaries: Canaries, directory: Path) -> Any:
    """What it writes to stderr goes to the person's terminal, as with docker itself: the SDK gives it ours."""
    return _program(directory, f"cat '{_kept(directory, canaries.plant('credsStore that fails'))}'; exit 1")


@way
def helper_that_prints_no_credentials(canaries: Canaries, directory: Path) -> Any:
    return _program(directory, f"cat '{_kept(directory, canaries.plant('credsStore garbage'))}'")


@way
def helper_that_is_not_there(canaries: Canaries, directory: Path) -> Any:
    login = f"u:{canaries.plant('auths.auth')}"
    return {
        "credHelpers": {"registry.invalid": "nobody"},
        "auths": {"registry.invalid": {"auth": base64.b64encode(login.encode()).decode()}},
    }


@way
def login_that_is_none(canaries: Canaries, directory: Path) -> Any:
    text = base64.b64encode(canaries.plant("auths.auth without a colon").encode()).decode()
    return {"auths": {"registry.invalid": {"auth": text}}}


@way
def no_configuration(canaries: Canaries, directory: Path) -> Any:
    return f'{{"auths": [{canaries.plant("config.json")}'


@way
def another_form(canaries: Canaries, directory: Path) -> Any:
    return {"auths": canaries.plant("config.json of another form")}


SENT = {"password", "identity-token", "helper", "helper-with-a-token", "headers-of-every-request"}
"""Those whose secret gets to the daemon; the others are refused here, or have none for that registry."""
QUICK = ("403", "progress")


def test_no_text_has_the_environment_of_a_container_that_is_refused(tmp_path, caplog, capfd):
    canaries = Canaries()
    spec = ContainerSpec("main", ("true",), {"TOKEN": canaries.plant("container.env.valueFrom")}, IMAGE)
    with caplog.at_level("DEBUG"), DockerEcho("no container") as server:
        sandbox = DockerSandbox(tmp_path, "pod", None, {"DOCKER_HOST": f"tcp://{server.endpoint}"})
        with pytest.raises(LifecycleError, match="denied") as caught:
            sandbox.start(spec)
    assert canaries.found(server.sent[-1].decode())
    hits = canaries.found("\n".join([told(caught.value), caplog.text, *capfd.readouterr()]))
    assert not hits, hits


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("tcp://u:{word}@127.0.0.1:1", "there is a login in it"),
        ("ssh://u:{word}@h", "there is a login in it"),
        ("tcp://h:abc", "Port could not be cast"),
        ("tcp://[::1", "Invalid IPv6 URL"),
        ("nonsense", "port is required"),
    ],
)
def test_a_host_that_names_no_daemon_is_said_without_its_login(host, why):
    canaries = Canaries()
    word = canaries.plant("DOCKER_HOST").partition("+")[0]
    with pytest.raises(BadRequest, match=why) as caught:
        Daemon({"DOCKER_HOST": host.format(word=word)}).call("GET", "/info")
    assert "unix:///PATH" in caught.value.remedy
    assert not canaries.found(told(caught.value))


@pytest.mark.parametrize(
    "config",
    [
        {"auths": {"registry.invalid": "SECRET"}},
        {"auths": "SECRET"},
        {"HttpHeaders": ["SECRET"]},
        {"HttpHeaders": {"X-Token": 7, "X-Other": "SECRET"}},
        {"HttpHeaders": {"X-Token": "two\nlines SECRET"}},
        ["SECRET"],
    ],
)
def test_a_configuration_of_another_form_is_said_to_be_one(config, tmp_path, monkeypatch):
    canaries = Canaries()
    text = json.dumps(config).replace("SECRET", canaries.plant("config.json").partition("+")[0])
    (tmp_path / "config.json").write_text(text)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with DockerEcho("403") as server, pytest.raises(BadRequest, match="configuration cannot be read") as caught:
        Daemon({"DOCKER_HOST": f"tcp://{server.endpoint}"}).call("GET", "/info")
    assert "config.json" in caught.value.remedy
    assert not canaries.found(told(caught.value))


@pytest.mark.parametrize(
    "answer", [*QUICK, *(pytest.param(one, marks=[pytest.mark.slow]) for one in ANSWERS if one not in QUICK)]
)
@pytest.mark.parametrize("name", WAYS)
def test_no_text_has_a_credential_for_a_registry(name, answer, tmp_path, monkeypatch, caplog, capfd):
    canaries = Canaries()
    for directory in ("docker", "bin"):
        (tmp_path / directory).mkdir()
    config = WAYS[name](canaries, tmp_path / "bin")
    (tmp_path / "docker/config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    spec = ContainerSpec("main", ("true",), {}, IMAGE)
    said: list[str] = []
    with caplog.at_level("DEBUG"), DockerEcho(answer) as server:
        for pull in ("Always", "Never", "IfNotPresent"):
            sandbox = DockerSandbox(
                tmp_path, "pod", lambda name, line: said.append(repr(line)), {"DOCKER_HOST": f"tcp://{server.endpoint}"}
            )
            with pytest.raises(LifecycleError) as caught:
                sandbox.start(replace(spec, pull=pull))
            said.append(told(caught.value))
    if not answer.startswith("version") or name == "headers-of-every-request":
        sent = "\n".join(one.decode("latin-1") for one in server.sent)
        assert bool(canaries.found(sent)) == (name in SENT)
    hits = canaries.found("\n".join([*said, *server.children, caplog.text, *capfd.readouterr()]))
    assert not hits, hits
