"""Writes the diagrams of every table and a page for each phase: ``python -m diagrams.generate [--check]``.

What it writes is committed, so that it can be read where the source is read; ``--check`` keeps it true.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from diagrams import dot, mermaid, phases, svg
from lifecycle.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RENDERERS = {"mmd": mermaid.render, "dot": dot.render, "svg": svg.render}
HERE = Path(__file__).parent
REFRESH = "python -m diagrams.generate"
PHASES = "phases"

_DIFF_LINES = 40


def expected() -> dict[str, str]:
    """The name and the text of every file that belongs here."""
    files = {"README.md": _index()}
    for name, table in TABLES.items():
        files |= {f"{_stem(name)}.{suffix}": render(table) for suffix, render in RENDERERS.items()}
    return files | {f"{PHASES}/{name}": text for name, text in phases.pages().items()}


def stale(directory: Path) -> Iterator[str]:
    """What is wrong with a directory, a paragraph for each file: missing, stale or superfluous."""
    wanted = expected()
    for name, text in wanted.items():
        path = directory / name
        if not path.exists():
            yield f"{path}: is missing"
            continue
        old = path.read_text(encoding="utf-8")
        if old != text:
            diff = difflib.unified_diff(
                old.splitlines(),
                text.splitlines(),
                f"{path} (now)",
                f"{path} (as the table says)",
                lineterm="",
                n=1,
            )
            yield "\n".join([f"{path}: is stale", *islice(diff, _DIFF_LINES)])
    yield from (f"{path}: belongs to no table" for path in _superfluous(directory, wanted))


def write(directory: Path) -> list[Path]:
    """Bring a directory up to date, and say which files that changed."""
    wanted = expected()
    changed = []
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    for path in _superfluous(directory, wanted):
        path.unlink()
        changed.append(path)
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when everything is up to date now, 1 when ``--check`` found something."""
    parser = argparse.ArgumentParser(prog=REFRESH, description="Draw every table of lifecycle.tables.TABLES.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and say what is not up to date")
    parser.add_argument("--directory", type=Path, default=HERE, help="where the diagrams are (default: %(default)s)")
    given = parser.parse_args(arguments)
    if given.check:
        found = list(stale(given.directory))
        if found:
            sys.stderr.write("\n".join([*found, f"refresh them with: {REFRESH}", ""]))
        return 1 if found else 0
    for path in write(given.directory):
        sys.stdout.write(f"{path}\n")
    return 0


def _superfluous(directory: Path, wanted: dict[str, str]) -> list[Path]:
    patterns = [*(f"*.{suffix}" for suffix in RENDERERS), f"{PHASES}/*.md"]
    there = (path for pattern in patterns for path in directory.glob(pattern))
    return sorted(path for path in there if path.relative_to(directory).as_posix() not in wanted)


def _stem(table: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "-" for char in table)


def _index() -> str:
    lines = [
        "# Diagrams",
        "",
        f"Drawn by `{REFRESH}` from the tables that run the pods; `--check` says whether they are true.",
        "The way that one pod took is drawn from its journal:",
        "`argoexec diagram --journal FILE --format svg -o way.svg`;",
        "in a browser it is replayed step by step: `argoexec explain --html FILE -o way.html`.",
        "",
        "[A page for each phase](phases/README.md): what it calls, what it can end with and what to do then.",
        "[What goes wrong, and where](faults.md): every fault at every place is tried.",
    ]
    for name, table in TABLES.items():
        stem, about = _stem(name), table.about or name
        lines += ["", f"## {about}", "", f"![{about}]({stem}.svg)", ""]
        lines += [f"The same as [mermaid]({stem}.mmd) and for [Graphviz]({stem}.dot)."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
