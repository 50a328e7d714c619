"""``argoexec explain JOURNAL``: what a pod did, for a person on call. Needs nothing but the journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import account, journal
from lifecycle.errors import InputError
from lifecycle.local.paths import is_directory
from lifecycle.wording import MARKS, WORTH_A_RATE, duration, harmless, rate, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

_ITEM_MARKS = {"failed": "✗", "skipped": "–", "abandoned": "■"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The journal's path, and what to make of it."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="a journal.jsonl, or the work dir it is in")
    parser.add_argument("--html", action="store_true", help="a page that replays it, for a browser, in one file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the page there instead of to stdout")


def main(args: argparse.Namespace) -> int:
    """Print it; what containers and stores wrote into it cannot act on the terminal, nor on the page.

    Raises:
        InputError: this is no journal, or it cannot be read; the page cannot be written.
    """
    path: Path = args.journal
    if args.output is not None and not args.html:
        raise InputError("only a page goes to a file", place="--output", remedy="give --html too, or redirect stdout")
    if is_directory(path, str(path)):
        path /= "journal.jsonl"
    lines = journal.read(path)
    if args.html:
        from lifecycle.commands import diagram  # the tables, which the text does not need

        return diagram.draw("html", lines, path=path, output=args.output)
    try:
        text = "\n".join(map(harmless, explain(lines)))
    except KeyError as error:
        raise InputError(f"a line of this journal lacks {error}", place=str(path)) from error
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputError(f"a line of this journal has a wrong value: {error}", place=str(path)) from error
    print(text)
    return 0


def explain(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The timeline, then what failed, why, and what to do."""
    header, last = lines[0], lines[-1]
    yield f"pod {header['pod']} · template {header['template']} · table {header['table']} · began {header['t']}"
    yield ""
    yield from _timeline(lines)
    yield ""
    failures = [line["failure"] for line in lines if line["kind"] == "failure"]
    if last["kind"] == "end":
        restarts = journal.headers(lines) - 1
        since = f" since it was restarted ({restarts} in all)" if restarts else ""
        yield f"{last['verdict'].upper()} after {duration(last['s'])}{since}"
        if phases := account.of(lines).phases():
            yield f"  {phases}"
        if last.get("message") and not failures:
            yield f"  {last['message']}"
    else:
        yield f"INTERRUPTED after {duration(last['s'])}: the journal ends {_where(lines)}"
        yield "  → the executor was killed, or still runs; nothing after this line was recorded"
    for number, failure in enumerate(failures, start=1):
        yield ""
        yield from _failure(failure, number, len(failures))


def _timeline(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for number, line in enumerate(lines):
        at = f"{line['s']:9.3f} s  "
        match line["kind"]:
            case "pod" if number:
                yield ""
                yield f"RESTARTED {line['t']}: it had been interrupted {_where(lines[:number])}"
                yield f"  → it {_goes_on(line)}; the clock begins anew"
            case "enter":
                yield f"{at}▸ {line['phase']}"
            case "leave":
                mark = MARKS.get(line["event"], "?")
                yield f"{at}{mark} {line['phase']}: {line['event']} in {duration(line['seconds'])} → {line['to']}"
            case "attempt":
                again = "no further attempt" if line["wait"] is None else f"again after {duration(line['wait'])}"
                yield f"{at}    ! {line['item']}: attempt {line['attempt']}: {line['message']} ({again})"
            case "progress":
                of = f" of {size(line['total'])}" if line.get("total") is not None else ""
                yield f"{at}    … {line['item']}: {size(line['bytes'])}{of}"
            case "item":
                yield at + "    " + item_line(line["item"])
            case "note":
                yield f"{at}    · {line['text']}"


def item_line(item: Mapping[str, Any]) -> str:
    """One line on what became of an item."""
    mark = _ITEM_MARKS.get(item["state"], "✓")
    parts = [f"{mark} {item['kind']} {item['name']}".rstrip() + f": {item['state']}"]
    if item["state"] == "reported" and item["kind"] != "container":
        return parts[0]  # its size, time and note were told when it was saved, and are not those of the report
    if item["attempts"] > 1:
        parts.append(f"{item['attempts']} attempts")
    if item.get("bytes") is not None:
        parts.append(size(item["bytes"]))
    if item["seconds"]:
        parts.append(duration(item["seconds"]))
        if item.get("bytes") and item["seconds"] >= WORTH_A_RATE:
            parts.append(rate(item["bytes"], item["seconds"]))
    return ", ".join(parts) + (f" — {item['note']}" if item.get("note") else "")


def _failure(failure: Mapping[str, Any], number: int, total: int) -> Iterator[str]:
    title = "WHAT FAILED" if total == 1 else f"WHAT FAILED ({number} of {total})"
    of = f" of {failure['attempts']}" if failure["attempts"] else ""
    yield title
    yield f"  phase    {failure['phase']}"
    if failure["item"]:
        yield f"  item     {failure['item']}"
    yield f"  attempt  {failure['attempt']}{of}"
    yield f"  error    {failure['error']} ({failure['code']}): {failure['message']}"
    for cause in failure["causes"]:
        yield f"  cause    {cause}"
    if failure["remedy"]:
        yield f"  remedy   {failure['remedy']}"


def _goes_on(header: Mapping[str, Any]) -> str:
    return f"goes on with {header['resumes']}" if header.get("resumes") else "begins from the first phase"


def _where(lines: Sequence[Mapping[str, Any]]) -> str:
    for line in reversed(lines):
        if line["kind"] == "pod":
            break
        if line["kind"] == "enter":
            return f"in {line['phase']}, which it entered at {line['s']:.3f} s"
        if line["kind"] == "end":
            return "after its end"
        if line["kind"] == "leave":
            return f"on the way from {line['phase']} to {line['to']}"
    return "before the first phase"
