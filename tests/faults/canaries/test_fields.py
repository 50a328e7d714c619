"""The list of what is planted is whole: it is derived, and a new field or driver that nobody planted fails here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lifecycle.registry import DRIVERS
from tests.faults.canaries.canary import Canaries
from tests.faults.canaries.fields import (
    CONTENT,
    NOT_IN_THE_VIEW,
    OPEN,
    read_by_drivers,
    selectors,
    texts,
    unseen_drivers,
)
from tests.faults.canaries.pods import LOCATIONS, Pod

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fixtures import Secrets


@pytest.fixture
def planted(tmp_path: Path, secrets: Secrets, certificate) -> set[str]:
    """Every field that some location has a canary in."""
    fields: set[str] = set()
    for make in LOCATIONS.values():
        canaries = Canaries()
        with pytest.MonkeyPatch.context() as patch:
            make(Pod(canaries, secrets, "http://127.0.0.1:1", patch, tmp_path, certificate))
        fields |= canaries.fields
    return fields


def test_every_secret_of_every_driver_is_planted(planted: set[str]):
    assert selectors() - planted == set()
    assert NOT_IN_THE_VIEW - planted == set()


def test_every_text_of_a_location_is_planted_or_judged_to_be_no_secret(planted: set[str]):
    assert texts() - planted - OPEN == set()
    assert OPEN - texts() == set()
    assert OPEN & planted == set()


def test_a_driver_reads_no_secret_that_the_view_does_not_have(planted: set[str]):
    assert read_by_drivers() - {one.rpartition(".")[2] for one in selectors()} == set()


def test_every_driver_of_the_registry_has_a_location_with_canaries():
    assert set(DRIVERS) - {name.partition("-")[0] for name in LOCATIONS} == set()
    assert unseen_drivers() == {one.partition(".")[0] for one in NOT_IN_THE_VIEW}


def test_what_is_content_is_said():
    assert {"raw.data", "script.source", "container.env.value"} == CONTENT
