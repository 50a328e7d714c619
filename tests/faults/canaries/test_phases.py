"""Every fault at every place of a pod whose template has secrets in clear: none is in a journal, log or message."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.commands.explain import explain
from lifecycle.faults.injection import Faults
from lifecycle.faults.plan import ALWAYS, ERRORS, STREAMS, Fault, Plan
from tests.fakes import World
from tests.faults.canaries.canary import Canaries
from tests.faults.canaries.fields import CONTENT
from tests.faults.test_matrix import TABLES, places, run

if TYPE_CHECKING:
    from pathlib import Path

FEW = ("unauthorized", "defect")
"""Faults of the quick part: one that is ours, and one whose traceback is logged."""
OTHERS = ("not-found", *STREAMS)


def planted(canaries: Canaries, name: str) -> dict[str, Any]:
    """The template of the matrix with a canary in every text that is not a name."""
    raw: dict[str, Any] = json.loads(json.dumps(TABLES[name][1]))
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
    made = World(root, planted(canaries, name))
    made.store.objects = {"in/first": b"1", "in/second": b"2"}
    for one in made.control.raw.get("inputs", {}).get("artifacts", ()):
        made.store.objects |= {one[kind][key]: b"3" for kind, key in (("raw", "data"), ("http", "url")) if kind in one}
    made.runtime.files = {"/tmp/p": b"value\n", "/tmp/one": b"1", "/tmp/two": b"22"}
    made.runtime.stdout = b"the result\n"
    return made


@cache
def faults(name: str, root: Path) -> tuple[Fault, ...]:
    found = places(name, root)
    streams = [Fault(*place, kind) for place in found if place[2] in {"open", "save", "open_tar"} for kind in STREAMS]
    return (*(Fault(*place, kind, times=ALWAYS) for place in found for kind in ERRORS), *streams)


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(FEW, id="few"),
        pytest.param(OTHERS, id="others", marks=[pytest.mark.slow]),
    ],
)
@pytest.mark.parametrize("name", TABLES)
def test_no_record_of_a_fault_has_a_secret(
    name: str, kinds: tuple[str, ...], tmp_path, tmp_path_factory, caplog, capfd
):
    table, _ = TABLES[name]
    for number, fault in enumerate(faults(name, tmp_path_factory.mktemp("clean"))):
        if fault.kind not in kinds:
            continue
        caplog.clear()
        canaries = Canaries()
        with caplog.at_level("DEBUG"):
            made = world(tmp_path / str(number), name, canaries)
            Faults(Plan((fault,)), made.clock).inject(made.pod)
            run(made, table)
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
