"""The diagrams: complete, deterministic, up to date, well-formed, unharmed by what a journal may contain."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from diagrams import dot, generate, ink, mermaid, svg
from diagrams.layout import CARD, COLUMNS, Layout, shifted
from diagrams.model import arrows, choices, identifiers
from diagrams.text import clean, duration, fit, width, wrap
from diagrams.way import Way
from lifecycle.commands import diagram
from lifecycle.errors import InputError
from lifecycle.pod import POD
from lifecycle.table import END, Event, Table, Verdict
from lifecycle.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
FORMATS = {"mermaid": mermaid.render, "dot": dot.render, "svg": svg.render}
EVIL = '</text><script>alert("x")</script>]]> & %s `\x00\x1b[31m\ud800\u202e\n"]; end note: {{ "\\'
every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
every_format = pytest.mark.parametrize("render", FORMATS.values(), ids=FORMATS)


def line(kind: str, s: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"t": "2026-01-01T00:00:00.000Z", "s": s, "kind": kind} | fields


def stay(phase: str, event: str, to: str, *, seconds: float = 0.25) -> list[dict[str, Any]]:
    return [line("enter", phase=phase), line("leave", phase=phase, event=event, to=to, seconds=seconds)]


def attempt(phase: str, item: str, number: int, wait: float | None, message: str = "reset") -> dict[str, Any]:
    fields = {"item": item, "attempt": number, "error": "Unavailable", "message": message, "wait": wait}
    return line("attempt", phase=phase, **fields)


def failing(text: str = "403 from the store") -> list[dict[str, Any]]:
    """A pod whose inputs could not be loaded: after them straight to annotating."""
    item = {"kind": "input", "name": text, "state": "failed", "attempts": 2, "seconds": 1.5}
    return [
        line("pod", version=1, table="pod", pod=text, template=text),
        *stay("staging", "done", "loading"),
        line("enter", phase="loading"),
        attempt("loading", f"input {text}", 1, 1.2, text),
        attempt("loading", f"input {text}", 2, None, text),
        line("item", phase="loading", item=item),
        line("failure", failure={"phase": "loading", "item": f"input {text}", "message": text}),
        line("leave", phase="loading", event="failed", to="annotating", seconds=12.5),
        *stay("annotating", "done", "releasing"),
        *stay("releasing", "done", "failed"),
        line("end", verdict="failed", message=text),
    ]


def interrupted() -> list[dict[str, Any]]:
    """A pod of which nothing was heard any more while it waited."""
    return [
        line("pod", version=1, table="pod", pod="p", template="t"),
        *stay("staging", "done", "loading"),
        *stay("loading", "done", "starting"),
        *stay("starting", "done", "waiting"),
        line("enter", 2.0, phase="waiting"),
        attempt("waiting", "main", 1, 0.5) | {"s": 9.0},
    ]


def normal(text: str) -> str:
    """What a person reads in a diagram: its words, whatever markup and line ends are between them."""
    text = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), text)
    text = re.sub(r"(?m)^\s*\w+ : ", " ", text)
    return " ".join(re.sub(r"<[^>]*>|\\n", " ", text).split())


# What is drawn


@every_table
@every_format
def test_every_state_policy_and_purpose_is_drawn(table: Table, render: Any) -> None:
    text = normal(render(table))
    for phase in table.phases:
        assert phase.state in text
        assert phase.does in text.replace("&apos;", "'")
        assert str(phase.retry) in text
    assert all(verdict in text for verdict in Verdict)


@every_table
def test_every_edge_is_drawn(table: Table) -> None:
    ids = identifiers(table)
    drawn = {name: render(table) for name, render in FORMATS.items()}
    edges = [(arrow.source, arrow.dest, arrow.label) for arrow in arrows(table)]
    edges += [(END, choice.verdict, choice.label) for choice in choices(table)]
    for source, dest, label in edges:
        assert f"    {ids[source]} --> {ids[dest]} : {label}\n" in drawn["mermaid"]
        assert label in drawn["dot"].split(f"{ids[source]} -> {ids[dest]} [")[1].split("]")[0].replace("\\n", " ")
        name = f"{table.name}-edge-{ids[source]}-{ids[dest]}"
        edge = next(node for node in ET.fromstring(drawn["svg"]).iter() if node.get("id") == name)
        assert (edge[0].text or "").endswith(f": {label}")


@every_table
def test_merged_edges_are_all_edges(table: Table) -> None:
    merged = {(arrow.source, event, arrow.dest) for arrow in arrows(table) for event in arrow.events}
    assert merged == set(table.edges())


def test_the_verdict_is_chosen_as_the_engine_chooses_it() -> None:
    assert [(str(one.verdict), one.guard) for one in choices(POD)] == [
        ("failed", "has_failed"),
        ("terminated", "was_cancelled"),
        ("succeeded", ""),
    ]
    text = mermaid.render(POD)
    assert "state verdict <<choice>>" in text
    assert text.index("verdict --> failed") < text.index("verdict --> terminated") < text.index("verdict --> succ")


@every_format
@pytest.mark.parametrize("journal", [None, failing(), interrupted()], ids=["table", "failing", "interrupted"])
def test_the_same_gives_the_same(render: Any, journal: Any) -> None:
    assert render(POD, journal) == render(POD, journal)


def test_hash_seed_and_process_do_not_matter() -> None:
    code = "from diagrams.generate import expected; print(ascii(expected()))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


# What is committed


def test_the_committed_diagrams_are_what_the_tables_say() -> None:
    assert list(generate.stale(generate.HERE)) == [], f"refresh them with: {generate.REFRESH}"


def test_check_names_what_is_missing_stale_and_superfluous(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--directory", str(tmp_path)]
    assert generate.main(arguments) == 0
    assert generate.main([*arguments, "--check"]) == 0
    capsys.readouterr()
    (tmp_path / "pod.svg").unlink()
    (tmp_path / "init.mmd").write_text("stateDiagram-v2\n")
    (tmp_path / "gone.dot").write_text("digraph {}\n")
    assert generate.main([*arguments, "--check"]) == 1
    told = capsys.readouterr().err
    for part in (
        "pod.svg: is missing",
        "init.mmd: is stale",
        "+    direction LR",
        "gone.dot: belongs to no table",
    ):
        assert part in told
    assert told.endswith(f"refresh them with: {generate.REFRESH}\n")
    assert generate.main(arguments) == 0
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(found) == sorted(generate.expected())


# The SVG


def svgs() -> list[tuple[Table, Any]]:
    return [(table, None) for table in TABLES.values()] + [
        (POD, failing()),
        (POD, failing(EVIL)),
        (POD, interrupted()),
    ]


@pytest.mark.parametrize(("table", "journal"), svgs())
def test_svg_is_well_formed_with_unique_ids_and_nothing_that_runs(table: Table, journal: Any) -> None:
    root = ET.fromstring(svg.render(table, journal))
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name in ids for name in (root.get("aria-labelledby") or "").split())
    tags = {node.tag.rpartition("}")[2] for node in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "g", "rect", "path", "circle", "text", "tspan"}
    assert not [key for node in root.iter() for key in node.attrib if key.startswith("on") or "href" in key]


SIZES = {"heading": ink.HEADING, "title": ink.TITLE, "body": ink.BODY, "small": ink.SMALL}


@pytest.mark.parametrize(("table", "journal"), svgs())
def test_no_text_is_wider_than_where_it_stands(table: Table, journal: Any) -> None:
    root = ET.fromstring(svg.render(table, journal))
    prefix = f"{table.name}-state-"
    checked = 0
    for group in root.iter(f"{SVG}g"):
        if not (group.get("id") or "").startswith(prefix) or group.find(f"{SVG}rect") is None:
            continue
        card = group.find(f"{SVG}rect")
        assert card is not None
        left, wide = float(card.get("x", "")), float(card.get("width", ""))
        top, high = float(card.get("y", "")), float(card.get("height", ""))
        for text in group.iter(f"{SVG}text"):
            begin, end = extent(text)
            assert left < begin, text.text
            assert end < left + wide, text.text
            assert top < float(text.get("y", "")) + 6 < top + high + 3, text.text
            checked += 1
    assert checked > 10
    total = float(root.get("width", ""))
    for text in root.iter(f"{SVG}text"):
        begin, end = extent(text)
        assert begin > 0, text.text
        assert end < total, "".join(text.itertext())


def extent(text: ET.Element) -> tuple[float, float]:
    looks = text.get("class", "").split()
    size = next(SIZES[look] for look in ("heading", "title", "body", "small") if look in looks)
    wide = width("".join(text.itertext()), size, bold="bold" in looks or "title" in looks)
    x = float(text.get("x", ""))
    return (x - wide / 2, x + wide / 2) if text.get("text-anchor") == "middle" else (x, x + wide)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_it_is_legible_at_1000_px(table: Table) -> None:
    root = ET.fromstring(svg.render(table))
    assert float(root.get("width", "")) <= 1000
    assert min(SIZES.values()) >= 12


def test_light_and_dark_say_the_same_selectors() -> None:
    style = next(ET.fromstring(svg.render(POD)).iter(f"{SVG}style")).text or ""
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    colours = re.findall(r"(\.[\w-]+)\{(?:fill|stroke):#", light)
    assert set(colours) == set(re.findall(r"(\.[\w-]+)\{", dark))


@every_table
def test_lines_end_on_cards_and_cross_none(table: Table) -> None:
    layout = Layout(table, 60, 200)
    cards = {state: (layout.slots[state].x, layout.y(state)) for state in layout.slots if state != END}
    for one in [*layout.straight, *(one for bus in layout.buses for one in bus.lines)]:
        for (x1, y1), (x2, y2) in zip(one.points, one.points[1:], strict=False):
            assert x1 == x2 or y1 == y2
            for state, (x, y) in cards.items():
                inside = min(x1, x2) < x + CARD and x < max(x1, x2) and min(y1, y2) < y + 200 and y < max(y1, y2)
                assert not inside, f"{one.arrow} crosses {state}"


def test_a_longer_table_with_steps_back_and_over_rows_is_drawn() -> None:
    phases = [replace(POD.phases[0], state=f"step {n}", to={}) for n in range(12)]
    following = [*(phase.state for phase in phases[1:]), END]
    cycle = [
        replace(
            phase,
            to={Event.DONE: to, Event.FAILED: "step 11", Event.TERMINATED: "step 0", Event.DEADLINE: END}
            | ({Event.TERMINATED: END} if phase is phases[0] else {})
            | ({Event.FAILED: END} if phase is phases[-1] else {}),
        )
        for phase, to in zip(phases, following, strict=True)
    ]
    table = Table(name="long & winding", phases=tuple(cycle))
    for render in FORMATS.values():
        assert "step 7" in render(table)
    root = ET.fromstring(svg.render(table))
    assert float(root.get("width", "")) <= 1000
    layout = Layout(table, 60, 200)
    assert max(slot.column for slot in layout.slots.values()) < COLUMNS


def test_parallel_lines_keep_their_distance_round_a_corner() -> None:
    assert shifted([(0, 0), (0, 10), (20, 10)], 2) == [(2, 0), (2, 8), (20, 8)]


# The way


def test_a_failing_way() -> None:
    way = Way.read(POD, failing())
    assert list(way.visits) == ["staging", "loading", "annotating", "releasing"]
    assert ("loading", Event.FAILED, "annotating") in way.taken
    assert ("releasing", Event.DONE, END) in way.taken
    loading = way.visits["loading"]
    assert (loading.seconds, loading.attempts, loading.failed_attempts, len(loading.failures)) == (
        12.5,
        2,
        2,
        1,
    )
    assert way.failing("loading")
    assert not way.failing("annotating")
    assert way.verdict is Verdict.FAILED


def test_the_attempts_of_an_item_are_those_of_the_phase_that_made_them() -> None:
    item = {"kind": "artifact", "name": "a", "attempts": 3, "seconds": 1.0}
    lines = [
        failing()[0],
        line("enter", phase="saving"),
        line("item", phase="saving", item=item | {"state": "saved"}),
        line("enter", phase="annotating"),
        line("item", phase="annotating", item=item | {"state": "reported"}),
    ]
    visits = Way.read(POD, lines).visits
    assert (visits["saving"].attempts, visits["annotating"].attempts) == (3, 0)


def test_an_interrupted_way_says_where_and_how_long() -> None:
    way = Way.read(POD, interrupted())
    assert way.stopped == "waiting"
    assert way.verdict is None
    assert way.visits["waiting"].open
    assert way.visits["waiting"].seconds == 7.0
    assert way.visits["waiting"].attempts == 2, "a wait after the failed one: another followed"


def test_a_restarted_way_is_one_way() -> None:
    way = Way.read(POD, [*interrupted(), line("pod", version=1, table="pod", pod="p"), *failing_from_waiting()])
    assert way.stopped is None
    assert way.verdict is Verdict.TERMINATED
    assert way.visits["waiting"].entered == 2
    assert way.visits["waiting"].seconds == 8.0


def failing_from_waiting() -> list[dict[str, Any]]:
    return [
        *stay("waiting", "terminated", "killing sidecars", seconds=1.0),
        line("end", verdict="terminated", message="SIGTERM"),
    ]


@every_format
def test_the_way_is_marked(render: Any) -> None:
    plain, failed, cut = render(POD), render(POD, failing()), render(POD, interrupted())
    assert len({plain, failed, cut}) == 3
    for part in ("12.5 s", "2 attempts", "1 failure", "403 from the store"):
        assert part in normal(failed)
        assert part not in normal(plain)
    assert "stopped here" in cut
    assert "interrupted in waiting" in normal(cut)


def test_mermaid_classes_and_ticks() -> None:
    text = mermaid.render(POD, failing())
    assert "loading --> annotating : ✔ failed, terminated, deadline\n" in text
    assert "class staging, annotating, releasing good\n" in text
    assert "class loading, failed bad\n" in text
    assert "class waiting stop\n" in mermaid.render(POD, interrupted())


def test_svg_dims_what_was_not_taken() -> None:
    root = ET.fromstring(svg.render(POD, failing()))
    looks = {node.get("id"): node.get("class") for node in root.iter(f"{SVG}g")}
    assert looks["pod-state-waiting"] == "away"
    assert looks["pod-state-loading"] is None
    assert looks["pod-edge-staging-annotating"] == "off"
    assert looks["pod-edge-loading-annotating"] is None
    assert looks["pod-edge-verdict-succeeded"] == "off"


# What a journal may contain


@every_format
def test_what_a_journal_says_is_escaped_and_cut(render: Any) -> None:
    text = render(POD, failing(EVIL * 100))
    text.encode()
    # In dot it stands in a quoted text, which Graphviz escapes for each format that it writes.
    assert "<script" not in text or render is dot.render
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text
    assert len(text) < 60_000


def test_no_text_leaves_its_quotes() -> None:
    # A comment, a directive, a quote, a bracket, a semicolon: nothing of that comes through to mermaid.
    evil = [one for one in mermaid.render(POD, failing(EVIL)).splitlines() if "alert" in one]
    assert evil
    assert all(re.fullmatch(r"    \w+ : [^\"`{}<>;:%\\]*", re.sub(r"#\d+;", "", one)) for one in evil)
    for one in dot.render(POD, failing(EVIL)).splitlines():
        assert '"' not in re.sub(r'"(?:[^"\\]|\\.)*"', "", one).replace('point-size="10"', "")


@pytest.mark.parametrize(
    "bad",
    [
        line("enter"),
        line("enter", phase=7),
        line("enter", phase="nowhere"),
        line("leave", phase="loading", event="sneezed", to="saving"),
        line("leave", phase="loading", event="done", to="saving"),
        line("leave", phase="loading", event="done", to="starting", seconds="long"),
        line("leave", phase="loading", event="done", to="starting", seconds=float("nan")),
        line("leave", phase="loading", event="done", to="starting", seconds=-1),
        line("attempt", phase="loading", attempt=[]),
        line("item", phase="loading", item="text"),
        line("item", phase="loading", item={"kind": None}),
        line("failure", failure=None),
        line("failure", failure={"phase": "loading", "message": 5}),
        line("end", verdict="perhaps"),
        line("end", verdict=["failed"]),
        line("pod", table="init"),
        {"kind": ["enter"]},
    ],
    ids=str,
)
@every_format
def test_a_line_of_the_wrong_shape_is_named(bad: Any, render: Any) -> None:
    with pytest.raises(InputError) as caught:
        render(POD, [failing()[0], bad])
    assert caught.value.place == "journal:2"


def test_an_unknown_kind_is_passed_over() -> None:
    assert Way.read(POD, [*failing(), line("note", phase="x", text=1), line("later")]) == Way.read(POD, failing())


# The command


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    diagram.add_arguments(parser)
    return diagram.main(parser.parse_args(arguments))


def write(path: Path, lines: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return str(path)


def test_the_command_draws_the_pod_as_mermaid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert capsys.readouterr().out == mermaid.render(POD)


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("wait", "--format", "svg", "-o", str(tmp_path / "out.svg")) == 0
    assert (tmp_path / "out.svg").read_text() == svg.render(TABLES["wait"])
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="cannot be written"):
        run("-o", str(tmp_path / "no" / "such"))


def test_the_command_takes_the_table_of_the_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line("pod", version=1, table="wait", pod="p", template="t"), line("enter", phase="waiting")]
    assert run("--format", "dot", "--journal", write(tmp_path / "j", lines)) == 0
    assert capsys.readouterr().out == dot.render(TABLES["wait"], lines)


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table 'pdo'") as caught:
        run("pdo")
    assert caught.value.remedy == "there are: pod, init, wait, resource, data"
    with pytest.raises(InputError, match="no diagram format 'png'"):
        run("--format", "png")
    header = failing()[0]
    for place, lines in {
        "1": [header | {"table": "of another release"}],
        "3": [header, line("enter", phase="staging"), line("enter", phase="nowhere")],
    }.items():
        path = write(tmp_path / "journal.jsonl", lines)
        with pytest.raises(InputError) as caught:
            run("--journal", path)
        assert caught.value.place == f"{path}:{place}"
        assert str(caught.value).count(place + ":") == 1
    path = write(tmp_path / "journal.jsonl", failing())
    with pytest.raises(InputError, match="journal of the table 'pod', not of 'init'"):
        run("init", "--journal", path)


# Text


def test_wrapped_text_fits() -> None:
    for text in (EVIL, "a" * 300, "word " * 60, "漢字" * 40):
        for one in wrap(clean(text), 100, 12, lines=3):
            assert width(one, 12) <= 100
        assert width(fit(clean(text), 50, 12), 12) <= 50
        assert len(wrap(clean(text), 100, 12, lines=3)) <= 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.34, "340 ms"),
        (2.414, "2.41 s"),
        (14.7, "14.7 s"),
        (59.99, "1 min"),
        (200, "3 min 20 s"),
        (3671, "1 h 1 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
