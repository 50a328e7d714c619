"""Every row of the table, performed."""

from __future__ import annotations

import importlib
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle import errors
from tests.faults import scenes
from tests.faults.stage import SCENES, Stage, content, play

if TYPE_CHECKING:
    from tests.servers.fixtures import Secrets

for module in pkgutil.iter_modules(scenes.__path__):
    importlib.import_module(f"{scenes.__name__}.{module.name}")

TABLES = sorted((Path(__file__).parent / "scenes").glob("*.toml"))
ROWS: list[dict[str, Any]] = [
    row | {"store": table.stem, "verb": verb}
    for table in TABLES
    for row in tomllib.loads(table.read_text())["rows"]
    for verb in row["verbs"]
]


def test_every_scene_has_a_row_and_every_row_a_scene():
    assert sorted((row["store"], row["fault"], row["verb"]) for row in ROWS) == sorted(SCENES)


def _case(row: dict[str, Any]) -> Any:
    """A server that keeps one waiting is waited for."""
    name = f"{row['store']}-{row['fault']}-{row['verb']}".replace(" ", "_")
    return pytest.param(row, id=name, marks=[pytest.mark.slow] if row["fault"] == "slow server" else [])


@pytest.mark.parametrize("row", [_case(row) for row in ROWS])
def test_what_comes_of_a_fault(
    row: dict[str, Any],
    tmp_path: Path,
    secrets: Secrets,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
):
    stage = Stage(row["verb"], tmp_path, secrets, request)
    with SCENES[row["store"], row["fault"], row["verb"]](stage) as scene:
        outcome = play(scene, stage, caplog)

        assert (outcome.error, outcome.attempts) == (row["error"], row["attempts"]), outcome.message
        assert re.search(row["message"], outcome.message), outcome.message
        assert re.search(row.get("remedy", ""), outcome.remedy), outcome.remedy
        assert bool(outcome.remedy) >= ("remedy" in row)
        assert len(outcome.waits) == row["attempts"] - 1
        assert [wait for wait in outcome.waits if wait < row.get("wait", 1.0)] == []
        if row["error"]:
            assert issubclass(getattr(errors, row["error"]), errors.LifecycleError)
            assert outcome.state == "failed"
            assert content(outcome.path) is None
            assert not scene.left()
        elif scene.optional:
            assert outcome.state == "skipped"
        elif row["verb"] == "load":
            assert outcome.state in {"loaded", "reported"}
            assert content(outcome.path) == scene.content
        else:
            assert outcome.state in {"saved", "reported"}
            assert scene.stored is not None
            assert scene.stored() == scene.content
        for secret in _values(secrets.root):
            assert secret not in outcome.text
        assert outcome.litter == []


def _values(root: Path) -> list[str]:
    """Every line of every secret that is long enough to be told from other text."""
    files = [path for path in root.rglob("*") if path.is_file()]
    lines = (line for path in files for line in path.read_text(errors="replace").splitlines())
    return [line.strip() for line in lines if len(line.strip()) > 5 and not line.startswith("-----")]
