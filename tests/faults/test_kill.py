"""The kill matrix: `kill -9` at every line of the journal, before, in and after its writing, then a restart.

Generated: whatever writes a line is covered. Invariants, not expectations by hand, against a run that nobody kills.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.lives import MOMENTS, SCENARIOS, SECRET_VALUE, Lives

if TYPE_CHECKING:
    from pathlib import Path

MAIN_LOST = "main was lost: the executor that ran it was killed, and main with it"


def told(lives: Lives) -> list[Any]:
    """What the controller holds in the end: of reports, the last one counts."""
    return [(one.outputs, one.message) for one in lives.world.control.reports][-1:]


def ended(lives: Lives) -> dict[str, Any]:
    return {key: value for key, value in lives.lines[-1].items() if key in ("kind", "verdict", "message")}


def done(lines: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """The items that the journal says were loaded or saved."""
    found = [(line["phase"], line["item"]) for line in lines if line["kind"] == "item"]
    return {(phase, one["kind"], one["name"]) for phase, one in found if one["state"] in ("loaded", "saved", "done")}


def named(lives: Lives) -> dict[tuple[str, str, str], int]:
    """How often each of them was really done."""
    saved, loaded = lives.saved, lives.loaded
    counts = {("saving", "artifact", "a"): saved["wf/pod/a.txt"], ("saving", "artifact", "b"): saved["wf/pod/b.tgz"],
              ("saving", "log", "main-logs"): saved["wf/pod/main.log"],
              ("loading", "input", "one"): loaded["in/one"], ("loading", "input", "two"): loaded["in/two"],
              ("annotating", "report", ""): len(lives.world.control.reports),
              ("starting", "container", "main"): lives.started["main"],
              ("starting", "init container", "before"): lives.started["before"]}  # fmt: skip
    for name, one in lives.world.runtime.containers.items():
        if name != "main":
            counts["killing sidecars" if name == "side" else "releasing", "container", name] = len(one.signals)
    return counts


def undisturbed(root: Path, name: str, **settings: Any) -> tuple[Lives, int]:
    lives = SCENARIOS[name](root, **settings)
    status = lives.live()
    assert status is not None
    return lives, status


def check(
    lives: Lives, status: int, model: Lives, model_status: int, at_kill: list[dict[str, Any]], kills: int = 1
) -> None:
    """The invariants of a pod that was killed and has gone on to its end."""
    lost = any(MAIN_LOST in line["failure"]["message"] for line in lives.lines if line["kind"] == "failure")
    if lost:
        assert lives.table.name == "pod", "only in a local run main dies with the executor"
        assert status == 1
        assert MAIN_LOST in ended(lives)["message"]
    else:
        assert status == model_status
        assert told(lives) == told(model)
        assert ended(lives) == ended(model)
        assert lives.world.store.objects == model.world.store.objects
    assert all(one.status is not None for one in lives.world.runtime.containers.values()) or lives.table.name != "wait"
    assert lives.started["main"] <= 1
    assert len(lives.cluster.there) == len(model.cluster.there)
    before = done(at_kill)
    for key, count in named(lives).items():
        once = named(model).get(key, 0)
        allowed = once if key in before else once + kills
        assert count <= allowed, f"{key} was done {count} times, {'and' if key in before else 'not'} in the journal"
    assert SECRET_VALUE not in lives.journal.read_text()
    ends = [line for line in lives.lines if line["kind"] == "end"]
    assert len(ends) == 1


def whole_lines(lives: Lives) -> list[dict[str, Any]]:
    *whole, _ = lives.journal.read_bytes().split(b"\n")
    return [json.loads(line) for line in whole]


QUICK = "torn"  # nothing of the line counts, and there is something to be cut off; the others are much the same


@pytest.mark.parametrize(
    "moment", [one if one == QUICK else pytest.param(one, marks=pytest.mark.slow) for one in MOMENTS]
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_pod_that_is_killed_at_any_line_goes_on_after_a_restart(tmp_path, name, moment):
    model, model_status = undisturbed(tmp_path / "model", name)
    lines = len(model.lines)
    for at in range(1, lines + 1):
        lives = SCENARIOS[name](tmp_path / str(at))
        assert lives.live(at, moment) is None, f"line {at} of {lines} was not written"
        at_kill = whole_lines(lives)
        try:
            status = lives.live()
            assert status is not None
            check(lives, status, model, model_status, at_kill)
        except Exception as error:
            error.add_note(f"killed {moment} line {at} of {lines}: {model.lines[at - 1]}")
            raise


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_pod_that_is_killed_again_and_again_ends_all_the_same(tmp_path, name):
    """Seeded: each life writes up to six lines, its header among them."""
    model, model_status = undisturbed(tmp_path / "model", name, parallelism=1)
    rng = random.Random(f"{name} 5")
    for number in range(5):
        lives = SCENARIOS[name](tmp_path / str(number), parallelism=1)
        kills: list[tuple[int, str]] = []
        while (status := lives.live(*kills[-1] if kills else (1, "before"))) is None:
            kills.append((rng.randint(4, 9), rng.choice(MOMENTS)))
            assert len(kills) < 100, f"it gets nowhere: {kills}"
        try:
            check(lives, status, model, model_status, [], len(kills))
        except Exception as error:
            error.add_note(f"killed at {kills}")
            raise


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_pod_that_has_ended_does_nothing_more_and_says_the_same(tmp_path, name):
    lives, status = undisturbed(tmp_path, name)
    before = lives.journal.read_bytes(), named(lives), told(lives), lives.cluster.asked.copy()
    message = lives.pod.record.message()

    assert lives.live() == status
    assert (lives.journal.read_bytes(), named(lives), told(lives), lives.cluster.asked) == before
    assert lives.pod.record.message() == message
