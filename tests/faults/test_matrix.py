"""Every fault at every place. Which places there are is seen in a run without faults: a new phase or call is covered.

Expectations are not written by hand: they are what must hold whatever goes wrong (:mod:`tests.faults.invariants`).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from lifecycle.faults.plan import ANY, PORTS, Fault, Plan
from lifecycle.tables import TABLES
from tests.faults import matrix
from tests.faults.conftest import RUN
from tests.faults.invariants import broken
from tests.faults.segments import SEGMENTS, Case, clean, places

PARTS = 6
"""Of the pairs, so that no test takes as long as one that hangs."""

SHOWN = 5
"""So many of the cases that fail are shown."""

MEMORY = Path("/dev/shm")
"""Where a case's files are, if there is such a place: an fsync costs nothing there."""


class Judge:
    """Plays cases and says of each what did not hold."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "temporary"
        self.temporary.mkdir()
        self.logged: list[str] = []
        self.played: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()

    def judge(self, segment: str, faults: Iterable[tuple[str, tuple[Fault, ...]]]) -> None:
        """Play every case of a segment; those that fail print what repeats them."""
        clean(segment)
        said: list[str] = []
        for kind, plan in faults:
            where = (plan[0].phase, kind)
            self.played[where] += 1
            if wrong := self.play(segment, Plan(plan)):
                self.failed[where] += 1
                said.append(f"{segment}: {Plan(plan).command()}\n    " + "\n    ".join(wrong))
        assert not said, f"{len(said)} cases failed:\n" + "\n".join(said[:SHOWN])

    def play(self, segment: str, plan: Plan) -> list[str]:
        self.logged.clear()
        root = self.root / "case"
        root.mkdir()
        before, tempfile.tempdir = tempfile.tempdir, str(self.temporary)
        try:
            case = Case(segment, root, plan)
            case.play()
            wrong = list(broken(case, self.logged))
            # One of two may keep the other from its turn.
            wrong += [] if case.faults.happened else ["nothing has happened"]
            return wrong + [f"{one} is left" for one in self.temporary.iterdir()]
        finally:
            tempfile.tempdir = before
            shutil.rmtree(root)


@pytest.fixture(scope="module")
def judge(pytestconfig: pytest.Config) -> Iterator[Judge]:
    log, began = logging.getLogger("argoexec"), time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        made = Judge(Path(name))
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: made.logged.append(record.getMessage())  # type: ignore[method-assign]
        before = log.propagate
        log.addHandler(handler)
        log.propagate = False
        try:
            yield made
        finally:
            log.removeHandler(handler)
            log.propagate = before
        shown = {where: (number, made.failed[where]) for where, number in made.played.items()}
        pytestconfig.stash[RUN] = shown, time.monotonic() - began


@pytest.mark.parametrize("segment", SEGMENTS)
def test_a_part_of_the_matrix_in_which_every_place_and_every_fault_is(judge: Judge, segment: str):
    chosen = list(matrix.quick(segment))

    assert {(one.phase, one.port, one.call) for _, one in chosen} == set(places(segment))
    judge.judge(segment, ((kind, (fault,)) for kind, fault in chosen))


def test_the_part_has_every_fault():
    assert {kind for segment in SEGMENTS for kind, _ in matrix.quick(segment)} == set(matrix.KINDS)


def test_every_phase_of_every_table_has_a_place():
    for table in {segment.table.name: segment.table for segment in SEGMENTS.values()}.values():
        names = [name for name, segment in SEGMENTS.items() if segment.table is table]

        assert {phase.state for phase in table.phases} == {phase for name in names for phase, _, _ in places(name)} - {
            ANY
        }


def test_every_table_is_tried():
    assert {segment.table.name for segment in SEGMENTS.values()} == set(TABLES)


def test_every_place_can_be_named_by_a_plan():
    assert {(port, call) for segment in SEGMENTS for _, port, call in places(segment)} <= {
        (port, call) for port, calls in PORTS.items() for call in calls
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", matrix.KINDS)
@pytest.mark.parametrize("segment", SEGMENTS)
def test_whatever_goes_wrong_wherever_and_however_often(judge: Judge, segment: str, kind: str):
    judge.judge(segment, ((kind, (fault,)) for fault in matrix.cases(segment, kind)))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("segment", SEGMENTS)
def test_two_things_go_wrong(judge: Judge, segment: str, part: int):
    judge.judge(segment, ((matrix.PAIR, pair) for pair in islice(matrix.pairs(segment), part, None, PARTS)))
