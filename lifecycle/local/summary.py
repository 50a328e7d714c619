"""What is said of a run at its end: how it ended, what came of it, where time went, where the files are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.location import of_artifact
from lifecycle.outcome import ItemState
from lifecycle.wording import duration, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.local.result import Result

Line = list[tuple[str, str]]
"""Pieces of text, each with its style."""

GOOD = (ItemState.DONE, ItemState.LOADED, ItemState.CAPTURED, ItemState.SAVED, ItemState.REPORTED)

_STYLES = {"Succeeded": "bold green", "Failed": "bold yellow", "Error": "bold red"}
_BAR = 20
_VALUE = 160
_WORTH = 0.02
"""The share of the time from which on a phase is worth a line."""


def lines(result: Result) -> Iterator[Line]:
    """The summary, line by line."""
    total = sum(phase["seconds"] for phase in result.lifecycle)
    yield [(result.phase, _STYLES[result.phase]), (f" after {duration(total)}", "")]
    if result.message:
        yield [(f"  {_without(result.message, result.remedy)}", "")]
    if result.remedy:
        yield [(f"  → {result.remedy}", "cyan")]
    yield from _section("outputs", list(_outputs(result)))
    yield from _section("notes", list(_left_over(result)))
    yield from _section("retries", list(_retries(result)))
    yield from _section("time", list(_times(result, total)))
    yield from _section("files", list(_files(result)))


def shown_path(path: Path) -> str:
    """Relative to the working directory where that is shorter to type."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _section(title: str, rows: list[Line]) -> Iterator[Line]:
    if rows:
        yield []
        yield [(title, "bold")]
        yield from rows


def _outputs(result: Result) -> Iterator[Line]:
    outputs = result.outputs
    sizes = {item["name"]: item.get("bytes") for item in _items(result, "saving") if item["kind"] != "parameter"}
    rows: list[tuple[str, str, str]] = [
        ("parameter", one["name"], _short(one["value"])) for one in outputs.get("parameters", ()) if "value" in one
    ]
    for one in outputs.get("artifacts", ()):
        count = sizes.get(one["name"])
        rows.append(("artifact", one["name"], _place(one) + (f"  ({size(count)})" if count is not None else "")))
    if "result" in outputs:
        rows.append(("result", "", _short(outputs["result"])))
    if result.exit_code is not None:
        rows.append(("exit code", "", str(result.exit_code)))
    width = max((len(name) for _, name, _ in rows), default=0)
    for kind, name, value in rows:
        yield [(f"  {kind:<11}", "dim"), (f"{name:<{width}}  " if width else "", ""), (value, "")]


def _left_over(result: Result) -> Iterator[Line]:
    for phase in result.lifecycle:
        for item in phase["items"]:
            # What a good item has to say, such as links that its store cannot hold, is as much to be known. Its state
            # is not: "saved — not stored: …" would be a riddle.
            said = [item["state"]] if item["state"] not in GOOD else []
            if item.get("note") and (said or item["kind"] != "container"):
                said.append(item["note"])
            if said:
                yield [(f"  {item['kind']:<11}", "dim"), (f"{item['name']}: {' — '.join(said)}", "")]
    for text in result.notes:
        yield [(f"  {text}", "")]


def _retries(result: Result) -> Iterator[Line]:
    for phase in result.lifecycle:
        for item in phase["items"]:
            if item["attempts"] > 1:
                yield [(f"  {item['kind']} {item['name']}: {item['attempts']} attempts", "")]


def _times(result: Result, total: float) -> Iterator[Line]:
    rows = [(phase["phase"], phase["seconds"]) for phase in result.lifecycle]
    shown = [row for row in rows if row[1] >= _WORTH * total]
    if rest := total - sum(seconds for _, seconds in shown):
        shown.append(("everything else", rest))
    for name, seconds in shown:
        bar = "▇" * round(_BAR * seconds / total) if total else ""
        yield [(f"  {name:<17}", ""), (f"{duration(seconds):>8}  ", "dim"), (bar, "blue")]


def _files(result: Result) -> Iterator[Line]:
    workdir = shown_path(result.prepared.workdir)
    yield [("  work dir     ", "dim"), (workdir, "")]
    yield [("  the journal  ", "dim"), (f"argoexec explain {shown_path(result.journal)}", "")]


def _items(result: Result, state: str) -> Iterator[Mapping[str, Any]]:
    for phase in result.lifecycle:
        if phase["phase"] == state:
            yield from phase["items"]


def _place(artifact: Mapping[str, Any]) -> str:
    location = of_artifact(artifact)
    if location is None:
        return ""
    if location.key.startswith("file://"):
        return shown_path(Path(location.key.removeprefix("file://")))
    return str(location)


def _short(value: Any) -> str:
    text = str(value).replace("\n", "⏎")
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}… ({len(text)} characters)"


def _without(message: str, remedy: str) -> str:
    """The message without the remedy, which gets a line of its own."""
    return message.replace(f" — {remedy}", "") if remedy else message
