"""A clean environment for every scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.clean(monkeypatch, tmp_path)
