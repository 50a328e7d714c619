"""A driver of somebody else: the example package, installed as pip would, found by its entry point."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from drivers.conformance import Bytes
from drivers.plugin import plugin_driver
from lifecycle.errors import BadRequest, InputError, NotFound

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/driver"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of packages: argoexec without its tests, and the example as pip would install it."""
    site = tmp_path / "site"
    site.mkdir()
    for package in ("lifecycle", "drivers", "runtimes", "diagrams"):
        (site / package).symlink_to(ROOT / package)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    about = project["project"]
    for module in project["tool"]["setuptools"]["py-modules"]:
        shutil.copy(EXAMPLE / f"{module}.py", site)
    info = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    groups = about["entry-points"]
    lines = [[f"[{group}]", *(f"{name} = {value}" for name, value in groups[group].items())] for group in groups]
    (info / "entry_points.txt").write_text("\n".join(line for group in lines for line in group) + "\n")
    return site


def run(site: Path, directory: Path, *argv: object) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ARGOEXEC"))}
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        cwd=directory,
        env=environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.sandbox
def test_a_template_is_run_with_a_driver_of_a_third_party(site: Path, tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    import argoexec_folder

    folder = tmp_path / "artifacts"
    folder.mkdir()
    driver = argoexec_folder.FolderDriver({"folder": str(folder)}, None)
    driver.save("words", io.BytesIO(b"a driver of my own"), None)

    argv = ("-m", "lifecycle.cli", "run", EXAMPLE / "workflow.yaml", "-p", f"folder={folder}", "-o", "json")
    done = run(site, tmp_path, *argv)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["phase"] == "Succeeded"
    with driver.open("loud") as stream:
        data = stream.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as packed:
        assert packed.extractfile("loud").read() == b"A DRIVER OF MY OWN"


def test_the_example_passes_all_of_the_suite_by_its_own_test(site: Path, tmp_path: Path):
    shutil.copy(EXAMPLE / "test_argoexec_folder.py", tmp_path)
    done = run(site, tmp_path, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.fixture
def folder(site: Path, tmp_path: Path, monkeypatch):
    """The example's driver, with a folder of its own."""
    monkeypatch.syspath_prepend(str(site))
    from argoexec_folder import FolderDriver

    (tmp_path / "artifacts").mkdir()
    return FolderDriver({"folder": str(tmp_path / "artifacts")}, None)


def test_no_key_leads_out_of_the_folder(folder, tmp_path: Path):
    (tmp_path / "outside").write_text("x")
    for key in ("../outside", "a/../../outside", str(tmp_path / "outside")):
        with pytest.raises(NotFound):
            folder.open(key)


def test_an_error_of_the_source_is_not_taken_for_one_of_the_folder(folder, tmp_path: Path):
    failure = FileNotFoundError("of the source")
    with pytest.raises(FileNotFoundError) as caught:
        folder.save("object", Bytes(1, failure=failure), None)

    assert caught.value is failure
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_an_object_that_cannot_be_is_not_one_that_is_not_there(folder):
    folder.save("object", io.BytesIO(b"x"), None)
    folder.save("directory/object", io.BytesIO(b"x"), None)

    with pytest.raises(BadRequest, match="Not a directory"):
        folder.save("object/below/it", io.BytesIO(b"x"), None)
    with pytest.raises(BadRequest, match="Is a directory"):
        folder.save("directory", io.BytesIO(b"x"), None)


def test_a_failure_of_the_suite_shows_what_differs(site: Path, tmp_path: Path):
    (tmp_path / "test_wrong.py").write_text(
        (EXAMPLE / "test_argoexec_folder.py").read_text()
        + "\n    odd_names = ()\n\n"
        + "    @pytest.fixture(autouse=True)\n    def wrong(self, monkeypatch):\n"
        + "        monkeypatch.setattr(FolderDriver, 'list', lambda *_: iter([]))\n"
    )
    argv = ("-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path, "-k", "a_listing_ends_at_the_slash")
    done = run(site, tmp_path, *argv)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "assert [] == ['a']" in done.stdout


@pytest.mark.parametrize("configuration", [{"folder": "/tmp"}, '{"folder": "/tmp"}', "folder: /tmp\n"])
def test_a_configuration_is_an_object_or_text_of_one(site: Path, monkeypatch, secrets, configuration: object):
    monkeypatch.syspath_prepend(str(site))
    driver = plugin_driver({"name": "folder", "configuration": configuration}, secrets)

    assert driver._folder == "/tmp"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "plugin.name"),
        ({"name": "nosuch"}, "nosuch"),
        ({"name": "s3"}, "driver of this executor"),
        ({"name": "folder", "configuration": "[]"}, "plugin.configuration"),
        ({"name": "folder", "configuration": "{"}, "plugin.configuration"),
        ({"name": "folder"}, "configuration.folder"),
    ],
)
def test_a_plugin_that_cannot_be_is_bad_input(site: Path, monkeypatch, secrets, config: dict[str, object], says: str):
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(InputError, match=says):
        plugin_driver(config, secrets)
