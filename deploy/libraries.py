"""The shared libraries that programs need, by the loader's own word."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOUND: Final = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_MISSING: Final = re.compile(r"^\t(\S+) => not found", re.MULTILINE)


def is_elf(path: Path) -> bool:
    """Whether the loader would look at it."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def closure(programs: Iterable[Path], root: Path) -> set[Path]:
    """The libraries of the programs and of their libraries, but for those below ``root``.

    Args:
        programs: ELF files of any kind; static ones need nothing.
        root: where a package's own libraries are already.

    Raises:
        LookupError: one is not there.
    """
    found: set[Path] = set()
    for program in programs:
        # Not checked: of a static program ldd says that it is none, with status 1.
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        if missing := _MISSING.search(said):
            raise LookupError(f"{program} needs {missing[1]}, which is not there")
        found.update(path for line in _FOUND.findall(said) if not (path := Path(line)).is_relative_to(root))
    return found


def beside_libc(libraries: Iterable[Path], *names: str) -> set[Path]:
    """What is opened at run time by name, where it exists, so that ``ldd`` does not list it."""
    homes = {path.parent for path in libraries if path.name.startswith("libc.so")}
    return {home / name for home in homes for name in names if (home / name).exists()}
