"""Every fault at every place of a pod whose template has secrets in clear: none is in a journal, log or message."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.clock import Cancel
from lifecycle.commands.explain import explain
from lifecycle.engine import Engine
from lifecycle.faults.injection import Faults
from lifecycle.faults.plan import ALWAYS, ERRORS, STREAMS, Fault, Plan
from lifecycle.stopping import arm_deadline
from tests.fakes import FakeContainer, World
from tests.faults.canaries.canary import Canaries
from tests.faults.canaries.fields import CONTENT
from tests.faults.segments import BUDGET, DEADLINE, SEGMENTS, places

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("init", "wait", "data")


def planted(canaries: Canaries, name: str) -> dict[str, Any]:
    """The template of the matrix with a canary in every text that is not a name."""
    raw: dict[str, Any] = json.loads(json.dumps(SEGMENTS[name].template))
    token, header = canaries.plant("oss.securityToken"), canaries.plant("http.headers.value")
    if "script" not in raw:
        raw["data"]["source"]["artifactPaths"]["s3"]["sessionToken"] = token
        return raw
    raw["script"]["source"] = canaries.plant("script.source")
    raw["script"]["env"] = [{"name": "TOKEN", "value": canaries.plant("container.env.value")}]
    for one in raw["sidecars"]:
        one["env"] = raw["script"]["env"]
    inputs = raw["inputs"]["artifacts"]
    inputs.append({"name": "raw", "path": "/in/raw", "raw": {"data": canaries.plant("raw.data")}})
    url = f"http://u:{canaries.plant('http.url').partition('+')[0]}@h/in/web"
    headers = [{"name": "Authorization", "value": header}]
    inputs.append({"name": "web", "path": "/in/web", "optional": True, "http": {"url": url, "headers": headers}})
    raw["outputs"]["artifacts"][0] = {
        "name": "one", "path": "/tmp/one",
        "oss": {"endpoint": "e", "bucket": "b", "key": "out/one.tgz", "securityToken": token},
    }  # fmt: skip
    return raw


def world(root: Path, name: str, canaries: Canaries) -> World:
    made = World(root, planted(canaries, name), parallelism=1)
    made.pod.deadline = made.clock.now() + timedelta(seconds=DEADLINE)
    made.store.objects = {"in/first": b"1", "in/tree/1": b"2"}
    volume = root / "mainctrfs/vol"
    volume.mkdir(parents=True)
    (volume / "three").write_bytes(b"three")
    for one in made.control.raw.get("inputs", {}).get("artifacts", ()):
        made.store.objects |= {one[kind][key]: b"3" for kind, key in (("raw", "data"), ("http", "url")) if kind in one}
    made.runtime.files = {"/tmp/p": b"value\n", "/tmp/one": b"1", "/tmp/two": b"22"}
    made.runtime.containers |= {name: FakeContainer(made.clock) for name in ("side", "istio-proxy")}
    made.runtime.stdout = b"the result\n"
    return made


@cache
def faults(name: str) -> tuple[Fault, ...]:
    found = places(name)
    streams = [Fault(*place, kind) for place in found if place[2] in {"open", "save", "open_tar"} for kind in STREAMS]
    return (*(Fault(*place, kind, times=ALWAYS) for place in found for kind in ERRORS), *streams)


@pytest.mark.parametrize("name", NAMES)
def test_no_record_of_a_fault_has_a_secret(name: str, tmp_path, caplog, capfd):
    table = SEGMENTS[name].table
    for number, fault in enumerate(faults(name)):
        caplog.clear()
        canaries = Canaries()
        with caplog.at_level("DEBUG"):
            made = world(tmp_path / str(number), name, canaries)
            plan = Faults(Plan((fault,)), made.clock)
            plan.inject(made.pod)
            arm_deadline(made.pod)
            Engine(table, made.pod).run()
            made.clock.sleep(2 * BUDGET, Cancel())  # threads that still wait have their end as well
        assert plan.happened[fault], fault
        lines = made.journal.lines
        texts = [
            json.dumps(lines, default=str), *explain(lines), made.pod.record.message(), *made.messages,
            *(report.message for report in made.control.reports), caplog.text, *capfd.readouterr(),
        ]  # fmt: skip
        hits = canaries.found("\n".join(texts))
        assert not hits, (fault, hits)
        # The report repeats an output's location as its author wrote it, by contract, and nothing else of the template.
        outputs = "\n".join(json.dumps(dict(report.outputs)) for report in made.control.reports)
        reported = canaries.found(outputs, but=("oss.securityToken",))
        assert not reported, (fault, reported)
    if name == "wait":
        assert canaries.fields >= CONTENT
