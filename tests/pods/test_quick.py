"""A main that is over before `wait` is awake: what pns can lose, and how often it does (spec 2.1, 7.3 number 72)."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import pytest

from tests.pods.case import Case
from tests.pods.plan import FLAVOURS
from tests.pods.scenarios import LOST, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pods.fleet import Fleet

A_FEW, MANY = 8, 200


def _counted(fleet: Fleet, count: int) -> collections.Counter[str]:
    """How many values of each kind the base layer's parameter had; what is in a volume is never lost."""
    cases = [Case(QUICK, "pns", "v3.3", fleet.stage, number) for number in range(1, count + 1)]
    found: collections.Counter[str] = collections.Counter()
    for seen in fleet.run(cases).values():
        seen.check(QUICK.expected(seen.case))
        values = {one["name"]: one["value"] for one in seen.outputs["parameters"]}
        assert values["p"] == "x", seen.tell()
        assert values["risked"] in {"x", LOST}, seen.tell()
        found[values["risked"]] += 1
    return found


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_main_of_a_few_milliseconds_loses_nothing_in_a_volume(
    flavour: str, fleet_of: Callable[[str], Fleet], capsys: pytest.CaptureFixture[str]
) -> None:
    found = _counted(fleet_of(flavour), A_FEW)
    with capsys.disabled():
        print(f"\npns on {flavour}: {found[LOST]} of {A_FEW} base layers lost")


@pytest.mark.slow
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_of_two_hundred_such_mains_it_is_said_how_many_lost_their_base_layer(
    flavour: str, fleet_of: Callable[[str], Fleet], capsys: pytest.CaptureFixture[str]
) -> None:
    found = _counted(fleet_of(flavour), MANY)
    with capsys.disabled():
        print(f"\npns on {flavour}: {found[LOST]} of {MANY} base layers lost")
