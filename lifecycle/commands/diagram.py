"""``argoexec diagram``: a table as a picture, and on it the way that one pod took."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import journal, registry
from lifecycle.errors import InputError
from lifecycle.pod import POD
from lifecycle.tables import TABLES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lifecycle.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "table",
        metavar="TABLE",
        nargs="?",
        help=f"one of {', '.join(TABLES)} (default: the journal's, else {POD.name})",
    )
    parser.add_argument(
        "--format",
        default="mermaid",
        help=f"{', '.join(registry.RENDERERS)}, or one that a package registered (default: %(default)s)",
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="mark the way that a pod took: states, edges, times, attempts, where it failed or stopped",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write there instead of to stdout")


def main(args: argparse.Namespace) -> int:
    """Draw.

    Raises:
        InputError: there is no such table or format, the journal does not fit, or the file cannot be written.
    """
    lines = None if args.journal is None else journal.read(args.journal)
    return draw(args.format, lines, table=args.table, path=args.journal, output=args.output)


def draw(
    form: str,
    lines: Sequence[dict[str, Any]] | None,
    *,
    table: str | None = None,
    path: Path | None = None,
    output: Path | None = None,
) -> int:
    """Write one picture: the whole of it, or nothing.

    Args:
        form: the name of the format.
        lines: of a journal, whose way is marked.
        table: which to draw; the journal's unless given, else the pod's.
        path: of the journal, for what is said of its lines.
        output: where to; ``None`` is stdout.

    Raises:
        InputError: as :func:`main`.
    """
    render = registry.resolve("diagram format", form)
    chosen = _table(table, path, lines)
    try:
        text: str = render(chosen, lines)
    except InputError as error:
        raise _placed(error, path) from error
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        output.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", place=str(output)) from error
    return 0


def _table(name: str | None, path: Path | None, lines: Sequence[dict[str, Any]] | None) -> Table:
    there_are = f"there are: {', '.join(TABLES)}"
    if name is not None and name not in TABLES:
        raise InputError(f"there is no table {name!r}", place="TABLE", remedy=there_are)
    if lines is None:
        return TABLES[name] if name else POD
    recorded = lines[0].get("table")
    if not isinstance(recorded, str) or recorded not in TABLES:
        said = repr(recorded)
        shown = said if len(said) <= 80 else said[:79] + "…"
        raise InputError(f"there is no table {shown}", place=f"{path}:1", remedy=there_are)
    # A name that differs from the journal's is the renderer's to refuse: it names the line.
    return TABLES[name or recorded]


def _placed(error: InputError, path: Path | None) -> InputError:
    """The error with the journal's path for ``journal``, which is all that a renderer knows of it."""
    kind, _, line = error.place.partition(":")
    if path is None or kind != "journal":
        return error
    message = error.message.removeprefix(f"{error.place}: ")
    return InputError(message, place=f"{path}:{line}", remedy=error.remedy)
