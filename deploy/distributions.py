"""Which installed distributions argoexec needs, and which of their files an image does."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TREE: Final = Path(__file__).parent.parent
PACKAGES: Final = ("lifecycle", "runtimes", "drivers", "diagrams")

_TESTS: Final = {"tests", "test", "SelfTest", "e2e_test", "__pycache__"}
_FOR_COMPILERS: Final = {".pyi", ".pyx", ".pxd", ".pxi", ".c", ".cc", ".cpp", ".h", ".hpp", ".a", ".pyc"}
# What an installer notes for itself; direct_url.json names a directory of the machine that built the image.
_NOTES: Final = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
# botocore describes 400 services in 30 MiB. These are what s3 is, and what its credentials come from.
_SERVICES: Final = {"s3", "sts", "sso", "sso-oidc", "signin"}
_UNUSED: Final = (
    ("kubernetes", "aio"),  # 68 MiB: the client once more, for asyncio
)


def project() -> dict[str, Any]:
    """The table ``[project]`` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((TREE / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def needed(extras: Iterable[str], more: Iterable[str] = ()) -> list[metadata.Distribution]:
    """What argoexec with these extras needs, as it is installed beside this interpreter; by name.

    Args:
        extras: of pyproject.toml.
        more: requirements: drivers of others, with what these need.

    Raises:
        LookupError: one is not installed.
    """
    table = project()
    waiting = [(Requirement(line), "") for line in (*table["dependencies"], *more)]
    for extra in extras:
        waiting += [(Requirement(line), "") for line in table["optional-dependencies"][extra]]
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if name == "argoexec" or (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                found[name] = metadata.distribution(name)
            except metadata.PackageNotFoundError as error:
                raise LookupError(
                    f"{name} is not installed here: install requirements.lock, and your packages"
                ) from error
            waiting += [(Requirement(line), wanted) for line in found[name].requires or ()]
    return [found[name] for name in sorted(found)]


def files(distribution: metadata.Distribution) -> Iterator[tuple[Path, PurePosixPath]]:
    """Where each file that an image needs is, and its path below the packages' directory."""
    for file in distribution.files or ():
        path = PurePosixPath(file)
        if path.parts[0] == ".." or path.name.endswith(".pth") or not _wanted(path):
            continue
        source = Path(str(distribution.locate_file(file)))
        if source.is_file():
            yield source, path


def own() -> Iterator[tuple[Path, PurePosixPath]]:
    """The same of argoexec itself, from this tree: an editable installation lists no files."""
    for package in PACKAGES:
        for source in sorted((TREE / package).rglob("*")):
            path = PurePosixPath(source.relative_to(TREE))
            if source.is_file() and _wanted(path) and source.suffix in {".py", ".typed", ".css", ".js"}:
                yield source, path


def own_metadata() -> dict[PurePosixPath, str]:
    """Metadata by which argoexec's adapters and version are found, as an installer would write it."""
    table = project()
    home = PurePosixPath(f"argoexec-{table['version']}.dist-info")
    groups = {"console_scripts": table["scripts"], **table["entry-points"]}
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), "")
    ]
    about = f"Metadata-Version: 2.1\nName: {table['name']}\nVersion: {table['version']}\n"
    return {home / "METADATA": about, home / "entry_points.txt": "\n".join(lines)}


def _wanted(path: PurePosixPath) -> bool:
    if path.suffix in _FOR_COMPILERS or _TESTS.intersection(path.parts[:-1]):
        return False
    if path.parts[:2] in _UNUSED:
        return False
    if path.parts[:2] == ("botocore", "data"):
        return len(path.parts) == 3 or path.parts[2] in _SERVICES
    return not (path.parts[0].endswith(".dist-info") and path.name in _NOTES)
