"""The page that replays a journal: complete, whole as HTML, and what a journal says stays text."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from base64 import b64encode
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from diagrams import page
from diagrams.story import Story
from lifecycle.commands import explain
from lifecycle.errors import Forbidden, InputError, Throttled, Unavailable
from lifecycle.pod import POD, WAIT_TABLE
from lifecycle.table import Table
from lifecycle.tables import TABLES
from tests.fakes import FakeContainer, World
from tests.test_diagrams import EVIL, failing, interrupted, line

if TYPE_CHECKING:
    from collections.abc import Sequence

VOID = {"meta", "link", "input", "br"}


class Read(HTMLParser):
    """Every element with its attributes and its own text; a page whose tags do not match is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        words: list[str] = []
        self.elements.append((tag, {name: value or "" for name, value in attrs}, words))
        if tag not in VOID:
            self._open.append((tag, words))

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data: str) -> None:
        for _, words in self._open:
            words.append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and text of the elements of one tag that have these."""
        return [
            (found, "".join(words))
            for name, found, words in self.elements
            if name == tag and attributes.items() <= found.items()
        ]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.all("html")[0][1].split()).split())


def saved(root: Path, count: int = 3, **calls: list[Any]) -> list[dict[str, Any]]:
    """The journal of a `wait` that saves so many artifacts, with faults."""
    artifact = lambda name: {"name": name, "path": f"/out/{name}", "fsspec": {"url": f"memory://b/{name}"}}
    names = [f"part-{number}" for number in range(count)]
    world = World(root, {"name": "t", "container": {"image": "x"}, "outputs": {"artifacts": [*map(artifact, names)]}})
    world.runtime.containers |= {"logger": FakeContainer(world.clock), "istio-proxy": FakeContainer(world.clock)}
    world.runtime.files = {f"/out/{name}": b"x" * 1000 for name in names}
    world.store.script.calls = calls
    world.wait()
    return world.journal.lines


def restarted(root: Path) -> list[dict[str, Any]]:
    """One whose process was killed while it saved, and began again 100 s later."""
    lines = saved(root, save=[Throttled("503 slow down", retry_after=3.0)])
    saving = next(at for at, one in enumerate(lines) if one["kind"] == "enter" and one["phase"] == "saving")
    t = "2026-01-01T00:01:45.000Z"
    again = [one | {"s": one["s"] - lines[saving]["s"], "t": t} for one in lines[saving:]]
    return [*lines[: saving + 2], lines[0] | {"t": t}, *again]


def of(lines: list[dict[str, Any]]) -> tuple[Table, list[dict[str, Any]]]:
    return TABLES[lines[0]["table"]], lines


FAULTS = {"save": [Throttled("503 slow down", retry_after=3.0), None, Forbidden("403", remedy="grant s3:PutObject")]}
JOURNALS = {
    "saved": saved,
    "failed": lambda root: saved(root, **{name: list(one) for name, one in FAULTS.items()}),
    "restarted": restarted,
    "loading": lambda _: failing(),
    "interrupted": lambda _: interrupted(),
    "evil": lambda _: failing(EVIL),
    "empty": lambda _: interrupted()[:1],
    "resource": lambda _: [line("pod", version=1, table="resource", pod="p"), line("enter", 1, phase="applying")],
    "data": lambda _: [line("pod", version=1, table="data", pod="p"), line("enter", 1, phase="listing")],
}  # fmt: skip
every_journal = pytest.mark.parametrize("name", JOURNALS)


@every_journal
def test_it_is_whole_and_needs_nothing_else(name: str, tmp_path: Path) -> None:
    text = page.render(*of(JOURNALS[name](tmp_path)))
    read = Read(text)

    ids = Counter(found["id"] for _, found, _ in read.elements if "id" in found)
    assert [one for one, count in ids.items() if count > 1] == []
    for tag, found, _ in read.elements:
        assert not [one for one in found if one.startswith("on") or one == "style"], (tag, found)
        assert tag not in {"iframe", "object", "embed", "img", "base", "foreignobject"}
        for key in ("src", "href", "xlink:href", "action", "srcset"):
            assert found.get(key, "data:,") == "data:,", (tag, found)
    assert not re.search(r"url\(|@import", text)
    assert len(read.all("script")) == 1
    # What the script moves is there.
    for found, _ in read.all("li"):
        if state := found.get("data-state"):
            assert ids[state] == 1
        if edge := found.get("data-edge"):
            assert ids[edge] == 1


@every_journal
def test_its_policy_allows_its_own_script_and_styles_alone(name: str, tmp_path: Path) -> None:
    read = Read(page.render(*of(JOURNALS[name](tmp_path))))

    [(found, _)] = read.all("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = dict(part.strip().split(" ", 1) for part in found["content"].split(";"))
    assert policy["default-src"] == "'none'"
    for directive, tag in (("script-src", "script"), ("style-src", "style")):
        hashes = {f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for _, text in read.all(tag)}
        assert set(policy[directive].split()) == hashes


def test_it_tells_everything_that_happened(tmp_path: Path) -> None:
    lines = JOURNALS["failed"](tmp_path)
    read = Read(page.render(*of(lines)))
    text = read.text

    for one in ("failed after 8.00 s", "artifact part-0", "503 slow down", "again after 3.00 s", "grant s3:PutObject"):
        assert one in text
    steps = [found["class"] for found, _ in read.all("li") if "data-at" in found]
    kinds = Counter(one["kind"] for one in lines)
    for kind in ("pod", "enter", "leave", "attempt", "failure", "end"):
        assert sum(kind in step.split() for step in steps) == kinds[kind]
    [(_, reported)] = [one for one in read.all("li", **{"class": "item"}) if "items reported" in one[1]]
    assert "2 items reported" in reported
    assert {"waiting", "saving", "releasing"} <= {text for _, text in read.all("h3")}


def test_what_a_journal_says_is_text(tmp_path: Path) -> None:
    text = page.render(POD, failing(EVIL))
    read = Read(text)

    assert "alert" in read.text
    assert [tag for tag, _, _ in read.elements].count("script") == 1
    assert "<script>alert" not in text
    assert not set(text) & set("\x00\x1b\u202e\ud800")
    text.encode()


def test_a_restart_is_told_with_the_time_that_nobody_saw(tmp_path: Path) -> None:
    lines = restarted(tmp_path)
    story = Story.read(*of(lines))

    assert story.restarts == [pytest.approx(105.0, abs=0.1)]
    assert [span.state for span in story.spans].count("saving") == 2
    assert story.spans[3].event == ""
    assert story.seconds == pytest.approx(108.0, abs=0.1)
    read = Read(page.render(*of(lines)))
    assert "begun again after 1 min 40 s" in read.text
    assert "restarts1" in [text for _, text in read.all("div")]


def test_an_interrupted_pod_has_no_verdict() -> None:
    assert "interrupted in waiting" in Read(page.render(POD, interrupted())).text


def test_thousands_of_items_cost_a_few_bytes_each(tmp_path: Path) -> None:
    few, many = (len(page.render(*of(saved(tmp_path / str(n), n)))) for n in (10, 110))
    assert (many - few) / 100 < 1000


@pytest.mark.parametrize(
    "bad",
    [
        line("item", phase="saving", item={"kind": "artifact", "name": "x", "attempts": 1, "seconds": "long"}),
        line("item", phase="saving", item={"kind": "artifact", "name": "x", "bytes": -5}),
        line("failure", failure={"phase": "saving", "message": "x", "causes": "none"}),
        line("failure", failure={"phase": "saving", "message": "x", "attempts": "many"}),
        line("progress", phase="saving", item="x", bytes=float("inf")),
        line("attempt", phase="saving", item="x", attempt=1, message="x", wait="long"),
        line("note", text=5),
        line("note", s="soon", text="x"),
    ],
    ids=str,
)
def test_a_line_of_the_wrong_shape_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        page.render(POD, [failing()[0], bad])
    assert caught.value.place == "journal:2"


# The command


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    return explain.main(parser.parse_args(arguments))


def test_explain_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = saved(tmp_path, save=[Unavailable("reset")])
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))

    assert run(str(tmp_path), "--html") == 0
    assert capsys.readouterr().out == page.render(WAIT_TABLE, lines)
    assert run("--html", str(tmp_path / "journal.jsonl"), "-o", str(tmp_path / "page.html")) == 0
    assert (tmp_path / "page.html").read_text() == page.render(WAIT_TABLE, lines)
    with pytest.raises(InputError, match="only a page goes to a file"):
        run(str(tmp_path), "-o", str(tmp_path / "text"))


def test_a_journal_that_does_not_fit_leaves_no_page(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [failing()[0], line("enter", phase="nowhere")]))

    with pytest.raises(InputError) as caught:
        run(str(path), "--html", "-o", str(tmp_path / "page.html"))

    assert caught.value.place == f"{path}:2"
    assert not (tmp_path / "page.html").exists()


def test_there_is_no_page_without_a_journal() -> None:
    with pytest.raises(InputError, match="a page replays a journal"):
        page.render(POD)
