"""``argoexec run`` as a process, at debug level, whatever fails: what it prints and keeps has no secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.faults.chance import ARGUMENTS
from lifecycle.faults.kinds import ERRORS, OTHERS, STREAMS
from lifecycle.faults.plan import ALWAYS, ANY, PORTS, Fault, can_happen
from tests.faults.batch import ENVIRON
from tests.faults.canaries.canary import Canaries
from tests.faults.canaries.echo import Echo

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[3]
NO_TEXT = {"kill", "hang"}
"""Faults that end without a word, or that only a deadline ends: nothing is told of them that others do not tell."""

REPEATED = {"http.url", "http.headers.value", "oss.securityToken"}
"""Outputs repeat a location as its author wrote it, by contract."""
GIVEN = REPEATED | {"raw.data", "script.source", "container.env.value", "-a with a login", "-p"}
"""A run is resumed with the template that it has begun with. No value of a secret that it names is among them."""
OWN = {"template.json", "report.json", "journal.jsonl.findings"}
"""Files with those: for their owner alone."""

SELDOM = {
    ("runtime", "held_root"), ("runtime", "open_tar"), ("driver", "open_rest"), ("driver", "list"),
    ("driver", "delete"), ("driver", "load_tree"), ("control", "template"), ("control", "time_left"),
    ("files", "manifest"), ("files", "secrets"), ("files", "own"),
}  # fmt: skip
"""Calls that a run without another fault, or of this template, does not make."""


def faults() -> Iterator[Fault]:
    """Each call of each port with one of the faults that it can have, by turns."""
    kinds = cycle(kind for kind in (*ERRORS, *STREAMS, *OTHERS) if kind not in NO_TEXT)
    for port, calls in PORTS.items():
        for call in calls if port != "objects" else ():
            kind = next(one for one in kinds if can_happen(Fault(ANY, port, call, one)))
            yield Fault(ANY, port, call, kind, argument=ARGUMENTS.get(kind, (None,))[0], times=ALWAYS)


def workflow(canaries: Canaries, url: str) -> dict[str, Any]:
    """One with a secret in each place that has room for one."""
    secret = {"secretKeyRef": {"name": "mine", "key": "token"}}
    word = canaries.plant("http.url").partition("+")[0]
    login = url.replace("://", f"://u:{word}@")
    headers = [{"name": "Authorization", "value": f"Bearer {canaries.plant('http.headers.value')}"}]
    web = {"url": f"{login}/p", "headers": headers}
    oss = {"endpoint": url, "bucket": "bucket", "key": "it", "securityToken": canaries.plant("oss.securityToken")}
    keys = {f"{name}Secret": {"name": "mine", "key": name} for name in ("accessKey", "secretKey")}
    basic = {f"{name}Secret": {"name": "mine", "key": name} for name in ("username", "password")}
    source = f'# {canaries.plant("script.source")}\ntest -n "$A" -a -n "$B" -a -s /tmp/raw && echo fine > /tmp/p\n'
    template = {
        "name": "t",
        "activeDeadlineSeconds": 5,
        "inputs": {
            "parameters": [{"name": "password"}],
            "artifacts": [
                {"name": "raw", "path": "/tmp/raw", "raw": {"data": canaries.plant("raw.data")}},
                {"name": "given", "path": "/tmp/given"},
                {"name": "web", "path": "/tmp/web", "optional": True, "http": web | {"url": f"{login}/w"}},
                {"name": "basic", "path": "/tmp/basic", "http": {"url": f"{url}/b", "auth": {"basicAuth": basic}}},
            ],
        },
        "script": {
            "image": "i",
            "command": ["sh"],
            "source": source,
            "env": [
                {"name": "A", "value": canaries.plant("container.env.value")},
                {"name": "B", "valueFrom": secret},
                {"name": "C", "value": "{{inputs.parameters.password}}"},
            ],
            "volumeMounts": [{"name": "s", "mountPath": "/s"}],
        },
        "initContainers": [{"name": "first", "image": "i", "command": ["true"]}],
        "sidecars": [
            {"name": "side", "image": "i", "command": ["sleep", "60"], "env": [{"name": "B", "valueFrom": secret}]}
        ],
        "outputs": {
            "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
            "artifacts": [
                {"name": "kept", "path": "/tmp/p"},
                {"name": "oss", "path": "/tmp/p", "oss": oss | keys},
                {"name": "put", "path": "/tmp/p", "archive": {"none": {}}, "http": web},
            ],
        },
    }  # fmt: skip
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "wf-"},
        "spec": {"entrypoint": "t", "templates": [template],
                 "volumes": [{"name": "s", "secret": {"secretName": "mine"}}]},
    }  # fmt: skip


def run(directory: Path, canaries: Canaries, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    """The whole of it, with every secret in its place."""
    (directory / "wf.yaml").write_text(json.dumps(workflow(canaries, url)))
    kept = directory / "secrets/mine"
    kept.mkdir(parents=True)
    for key in ("token", "accessKey", "secretKey", "username", "password"):
        (kept / key).write_text(canaries.plant(f"--secrets {key}"))
    word = canaries.plant("-a with a login").partition("+")[0]
    argv = [
        sys.executable, "-m", "lifecycle.cli", "--loglevel", "debug", "run", "wf.yaml", "--workdir", "work",
        "--secrets", "secrets", "-p", f"password={canaries.plant('-p')}",
        "-a", f"given={url.replace('://', f'://u:{word}@')}/given?sig={word}", *more,
    ]  # fmt: skip
    environ = os.environ | ENVIRON | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        argv, cwd=directory, env=environ, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )


def kept(workdir: Path) -> Iterator[Path]:
    """Every file of a run but those of its containers: what they were given, and what they left."""
    theirs = {workdir / "pod/volumes", workdir / "pod/containers"}
    for path in workdir.rglob("*"):
        if path.is_file() and not path.is_symlink() and theirs.isdisjoint(path.parents):
            yield path


CASES = list(faults())
QUICK = CASES[:: len(CASES) // 6]


@pytest.mark.parametrize(
    "fault", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in CASES], ids=str
)
def test_nothing_that_a_run_prints_or_keeps_has_a_secret(fault: Fault, tmp_path: Path):
    canaries = Canaries()
    number = CASES.index(fault)
    shape, answer = ("text", "json")[number % 2], ("200", "403")[number // 2 % 2]
    with Echo(answer) as server:
        done = run(tmp_path, canaries, server.url, "--fault", str(fault), "-o", shape, "--log-format", shape)
    assert done.returncode in {0, 1, 3}, done.stderr
    printed = done.stdout
    if shape == "json":
        result = json.loads(printed)
        outputs = json.dumps(result.pop("outputs"))
        assert canaries.found(outputs).keys() <= REPEATED
        printed = json.dumps(result, ensure_ascii=False)
    happened = re.search(rf"injected (\d+)×: {re.escape(str(fault))}", printed)
    assert happened
    assert bool(int(happened[1])) or (fault.port, fault.call) in SELDOM or answer == "403"
    work = tmp_path / "work"
    texts = {str(path.relative_to(work)): path.read_text(errors="replace") for path in kept(work)}
    assert {"journal.jsonl", "run.json", *OWN} <= {*texts, "report.json"}
    for name in OWN & texts.keys():
        assert not (work / name).stat().st_mode & 0o077
        own = canaries.found(texts.pop(name)).keys()
        assert own <= GIVEN if name == "template.json" else own <= REPEATED, name
    hits = canaries.found("\n".join([printed, done.stderr, *texts.values()]))
    assert not hits, hits
