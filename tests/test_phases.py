"""The pages of the phases: complete, with links that lead somewhere, and true of what a recorded run calls and says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from diagrams import generate, phases, source
from diagrams.model import LIFELINES, lifelines
from lifecycle.errors import Permanent, Unavailable
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from lifecycle.tables import TABLES
from tests.fakes import FakeContainer, Script, World
from tests.lifecycle import test_data, test_resource

STATES = {phase.state: phase for table in TABLES.values() for phase in table.phases}
WORKS = sorted({phase.work for table in TABLES.values() for phase in table.phases})
PAGES = phases.pages()

OUTPUTS = {
    "name": "t",
    "container": {"image": "x"},
    "archiveLocation": {"archiveLogs": True, "fsspec": {"url": "memory://b"}},
    "outputs": {
        "parameters": [{"name": "score", "valueFrom": {"path": "/out/score"}}],
        "artifacts": [{"name": "model", "path": "/out/model", "fsspec": {"url": "memory://b/model"}}],
    },
}
SCRIPT = {
    "name": "t",
    "script": {"image": "x", "source": "true"},
    "inputs": {"artifacts": [{"name": "data", "path": "/in/data", "fsspec": {"url": "memory://b/data"}}]},
}


def test_every_state_has_a_page_that_says_what_the_table_says() -> None:
    assert set(PAGES) == {"README.md", *map(phases.page, STATES)}
    for table in TABLES.values():
        for phase in table.phases:
            text = PAGES[phases.page(phase.state)]
            assert f"> {phase.does}" in text
            assert str(phase.retry) in text
            assert f"(../{table.name}.svg)" in text
            assert f"[{phase.state}]({phases.page(phase.state)})" in PAGES["README.md"]


def test_every_link_leads_to_a_file() -> None:
    home = generate.HERE / generate.PHASES
    for name, text in PAGES.items():
        for link in re.findall(r"\]\(([^)#]+)", text):
            if link != phases.FAULTS:  # the matrix of faults writes that one
                assert (home / link).resolve().exists(), f"{name}: {link}"


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for name, text in PAGES.items():
        for block in text.split("\n\n"):
            rows = [re.sub(r"\\\|", "", row).count("|") for row in block.splitlines() if row.startswith("|")]
            assert len(set(rows)) <= 1, f"{name}: {block}"


@pytest.mark.parametrize("work", WORKS)
def test_every_call_is_one_of_a_port_and_has_words_for_it(work: str) -> None:
    for call in source.read(work).calls:
        assert source.about(call)


class Recorder:
    """A port that tells which of its members were asked for, and in which phase."""

    def __init__(self, name: str, port: Any, world: World, calls: set[tuple[str, str]]) -> None:
        self._it = (name, port, world, calls)

    def __getattr__(self, name: str) -> Any:
        port, real, world, calls = self._it
        entered = [line for line in world.journal.lines if line["kind"] == "enter"]
        if entered and hasattr(real, name):
            calls.add((entered[-1]["phase"], f"{port}.{name}"))
        return getattr(real, name)


def recorded(world: World) -> set[tuple[str, str]]:
    """Put recorders between a pod and its ports; what they will have recorded."""
    calls: set[tuple[str, str]] = set()
    runtime = Recorder("runtime", world.runtime, world, calls)
    pod = world.pod
    pod.control = Recorder("control", world.control, world, calls)
    pod._runtime = lambda: runtime
    make = pod.drivers

    def made(location: Any) -> Any:
        calls.add(([line for line in world.journal.lines if line["kind"] == "enter"][-1]["phase"], "driver.made"))
        return Recorder("driver", make(location), world, calls)

    pod.drivers = made
    if pod.objects is not None:
        objects = Recorder("objects", pod.objects(), world, calls)
        pod.objects = lambda: objects
    return calls


NOT_OF_A_PHASE = {"control.time_left", "control.execution", "control.watch_execution"}
"""Asked in threads of their own, whose answer may come when the phase has gone on."""


def test_a_recorded_run_calls_nothing_that_a_page_does_not_have(tmp_path: Path) -> None:
    """As they are at their best, and with faults that make them do more."""
    calls: set[tuple[str, str]] = set()
    for number, broken in enumerate([{}, {"save": [Unavailable("reset")]}, {"open_output": [Permanent("gone")]}]):
        world = World(tmp_path / str(number), OUTPUTS | {"script": {"image": "x", "source": ""}, "container": None})
        world.runtime.containers |= {"a": FakeContainer(world.clock), "istio-proxy": FakeContainer(world.clock)}
        world.runtime.files |= {"/out/score": b"1", "/out/model": b"2"}
        world.store.script.calls = world.runtime.script.calls = {name: list(one) for name, one in broken.items()}
        found = recorded(world)
        world.wait()
        calls |= found
    world = World(tmp_path / "init", SCRIPT)
    world.store.objects["data"] = world.store.objects["/data"] = b"3"
    found = recorded(world)
    world.init()
    calls |= found
    outputs = {"parameters": [{"name": "n", "valueFrom": {"jsonPath": "{.status.n}"}}]}
    awaited = {"resource": {"successCondition": "status.n == 7"}, "outputs": outputs}
    step = test_resource.Step(tmp_path / "resource", Script(), [{"status": {"n": 7}}], **awaited)
    found = recorded(step)
    assert step.run() == 0
    calls |= found
    world = test_data.world(tmp_path / "data", "len(data)")
    found = recorded(world)
    assert test_data.run(world) == 0
    calls |= found

    for state, call in calls:
        assert call in source.read(STATES[state].work).calls or call in NOT_OF_A_PHASE, f"{state}: {call}"
    assert {state for state, _ in calls} == set(STATES) - {"staging", "starting"}  # files alone, and the local runner's
    assert {"driver.save", "driver.made", "control.report", "runtime.others", "objects.get"} <= {
        one for _, one in calls
    }


def holes(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split(source.HOLE))), re.DOTALL)


def test_a_message_of_a_run_is_on_the_page_with_its_remedy(tmp_path: Path) -> None:
    world = World(tmp_path, OUTPUTS)
    world.wait()
    lines = world.journal.lines
    for number, expression in enumerate(["1 +", "data + 1", "nothing", "data[99]", '"a" matches "("']):
        world = test_data.world(tmp_path / str(number), expression)
        test_data.run(world)
        lines += world.journal.lines
    failures = [line["failure"] for line in lines if line["kind"] == "failure"]

    assert len(failures) > 5
    for failure in failures:
        told = source.read(STATES[failure["phase"]].work).messages
        assert any(
            one.error == failure["error"].replace("ExpressionError", "InputError")
            and holes(one.text).fullmatch(re.sub(r"^(\$\S+: )?(column \d+: )?", "", failure["message"]))  # the place
            and holes(one.remedy).fullmatch(failure["remedy"])
            for one in told
        ), failure


def test_the_lifelines_are_those_of_a_run(tmp_path: Path) -> None:
    world = World(tmp_path, OUTPUTS)
    running = {"main": world.main, "sidecars": FakeContainer(world.clock), "late": FakeContainer(world.clock)}
    world.runtime.containers |= {"a": running["sidecars"], "istio-proxy": running["late"]}
    seen: dict[str, dict[str, bool]] = {}
    write = world.journal.write

    def watched(kind: str, **fields: Any) -> None:
        if kind == "leave":
            seen[fields["phase"]] = {name: one.status is None for name, one in running.items()}
        write(kind, **fields)

    world.journal.write = watched  # type: ignore[method-assign]
    world.wait()

    assert list(seen) == [phase.state for phase in WAIT_TABLE.phases]
    for state, lasts in seen.items():
        drawn = lifelines(WAIT_TABLE, state)
        assert lasts == {name: drawn.get(name, False) for name in LIFELINES}
    assert lifelines(INIT_TABLE, "loading") == {}


def test_a_page_that_belongs_to_no_state_is_found(tmp_path: Path) -> None:
    generate.write(tmp_path)
    (tmp_path / generate.PHASES / "sneezing.md").write_text("# sneezing\n")
    (tmp_path / generate.PHASES / "saving.md").write_text("# saving\n")

    said = "\n".join(generate.stale(tmp_path))

    assert "sneezing.md: belongs to no table" in said
    assert "saving.md: is stale" in said
