"""Every scenario in a real pod: what is reported, what is stored, who exits how, what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pods.case import Case
from tests.pods.plan import EVERY, Planned, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pods.fleet import Fleet
    from tests.pods.seen import Seen


@pytest.mark.parametrize("planned", list(plan()), ids=str)
def test_a_pod_ends_as_its_scenario_says(
    planned: Planned, seen: Callable[..., Seen], fleet_of: Callable[[str], Fleet]
) -> None:
    case = Case(planned.scenario, planned.runtime, planned.contract, fleet_of(planned.flavour).stage)
    seen(planned.flavour, planned.runtime, case.pod).check(planned.scenario.expected(case))


def test_every_scenario_has_a_name_of_its_own() -> None:
    assert len({one.name for one in EVERY}) == len(EVERY)


def test_every_contract_meets_every_runtime() -> None:
    assert len({(one.contract, one.runtime) for one in plan()}) == 16
