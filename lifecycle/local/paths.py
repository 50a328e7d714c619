"""Looking at a path that a person gave: :class:`pathlib.Path` raises where a directory on the way is closed to us."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def mode_of(path: Path, place: str) -> int | None:
    """What it is, links followed; ``None`` when there is nothing.

    Raises:
        InputError: nobody can say: a directory on the way may not be entered, the name is too long.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be looked at: {text}", place=place) from error


def is_directory(path: Path, place: str) -> bool:
    """Whether it is one, or leads to one.

    Raises:
        InputError: as :func:`mode_of`.
    """
    return stat.S_ISDIR(mode_of(path, place) or 0)


def is_file(path: Path, place: str) -> bool:
    """Whether it is a regular one, or leads to one.

    Raises:
        InputError: as :func:`mode_of`.
    """
    return stat.S_ISREG(mode_of(path, place) or 0)
