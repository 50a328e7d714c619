"""Which pods there are: every scenario with every runtime it applies to, on both clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.pods import refusals, scenarios, stopping
from tests.pods.layout import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pods.case import Scenario

FLAVOURS = ("docker", "containerd")
EVERY = (*stopping.SCENARIOS, *refusals.SCENARIOS, *scenarios.SCENARIOS)
"""The long ones first: the others run beside them."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One pod to be run."""

    flavour: str
    runtime: str
    scenario: Scenario
    contract: str

    def __str__(self) -> str:
        return f"{self.flavour}-{self.runtime}-{self.scenario.name}-{self.contract}"


def plan() -> Iterator[Planned]:
    """All of them, those of a cluster and a runtime together."""
    for flavour in FLAVOURS:
        for runtime in RUNTIMES:
            if (flavour, runtime) == ("containerd", "docker"):
                continue
            for number, scenario in enumerate(EVERY):
                if runtime in scenario.runtimes:
                    for contract in _contracts(scenario, number + RUNTIMES.index(runtime) + FLAVOURS.index(flavour)):
                        yield Planned(flavour, runtime, scenario, contract)


def _contracts(scenario: Scenario, turn: int) -> tuple[str, ...]:
    """One of them, another with each runtime and each cluster; all of them where that is wanted."""
    if scenario.every_contract:
        return scenario.contracts
    return (scenario.contracts[turn % len(scenario.contracts)],)
