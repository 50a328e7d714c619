"""A clean environment for every scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import environment

if TYPE_CHECKING:
    from pathlib import Path


RUN = pytest.StashKey[Any]()
"""What the matrix has played: cases and failures by phase and fault, and its seconds."""

CHANCE = pytest.StashKey[Any]()
"""Random plans that were run: how many, how many failed, and their seconds."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix as a table, when more than the part of `make test` was run."""
    from tests.faults import matrix

    played, seconds = config.stash.get(RUN, ({}, 0.0))
    cases, failed = map(sum, zip(*played.values(), strict=True)) if played else (0, 0)
    if cases > PART:
        terminalreporter.section("fault matrix")
        terminalreporter.write_line(matrix.table(played))
        terminalreporter.write_line(f"{cases} cases in {seconds:.0f} s, failures {failed}")
    if plans := config.stash.get(CHANCE, []):
        number, failures, seconds = map(sum, zip(*plans, strict=True))
        terminalreporter.section("random plans")
        terminalreporter.write_line(f"{number} plans in {seconds:.0f} s, failures {failures}")


PART = 1000
"""Cases that are not worth a table."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.clean(monkeypatch, tmp_path)
