"""Data templates: the table with a store in memory, on the virtual clock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.commands import in_pod
from lifecycle.data import DATA
from lifecycle.engine import Engine
from lifecycle.errors import Forbidden, Unavailable
from tests.fakes import Script, World

if TYPE_CHECKING:
    from pathlib import Path

S3 = {"endpoint": "e", "bucket": "b"}
KEYS = ("logs/a/main.log", "logs/b/main.log", "logs/b/other.txt")


def world(root: Path, *expressions: str, source: dict[str, Any] | None = None, **more: Any) -> World:
    made = World(
        root,
        {
            "name": "t",
            "data": {
                "source": {"artifactPaths": {"name": "src"} | (source or {"s3": S3 | {"key": "logs"}})},
                "transformation": [{"expression": one} for one in expressions],
            },
        }
        | more,
    )
    made.store.objects = dict.fromkeys(KEYS, b"x")
    return made


def run(made: World) -> int:
    return in_pod.status(DATA, Engine(DATA, made.pod).run(), made.pod)


def test_each_expression_makes_the_next_value_and_the_last_one_is_the_result(tmp_path):
    made = world(tmp_path, '  filter(data, {# endsWith "main.log"})', 'map(data, {split(#, "/")[1]})')

    assert run(made) == 0
    assert made.control.reports[0].outputs == {"result": '["a","b"]'}


def test_without_an_expression_the_result_is_the_list_of_whole_keys(tmp_path):
    made = world(tmp_path)

    assert run(made) == 0
    assert json.loads(made.control.reports[0].outputs["result"]) == list(KEYS)


def test_a_key_only_source_is_in_the_archive_location_s_store(tmp_path):
    made = world(tmp_path, source={"s3": {"key": "logs/b"}}, archiveLocation={"s3": S3 | {"key": "archive"}})

    assert run(made) == 0
    assert json.loads(made.control.reports[0].outputs["result"]) == ["logs/b/main.log", "logs/b/other.txt"]


@pytest.mark.parametrize(
    ("expressions", "message"),
    [
        (["data", "filter(data"], r"$.data.transformation[1].expression: column 12: the expression ends too early"),
        (["map(data, {# + 1})"], r"$.data.transformation[0].expression: column 14: + cannot take string and int"),
        (["1 / 0"], "the result cannot be written: +Inf is no JSON"),
        ([""], "$.data.transformation[0].expression: an expression is needed"),
    ],
)
def test_an_expression_that_is_wrong_is_named_by_its_place(tmp_path, expressions: list[str], message: str):
    made = world(tmp_path, *expressions)

    assert run(made) == 64
    assert message in made.control.reports[0].message


def test_an_expression_that_cannot_be_parsed_is_found_before_the_store_is_asked(tmp_path):
    made = world(tmp_path, "1 +")

    assert run(made) == 64
    assert not made.store.script.count


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"http": {"url": "http://h/x"}}, "http has no listing"),
        ({"raw": {"data": "x"}}, "raw has no listing"),
        ({"path": "/x"}, "it names no location"),
    ],
)
def test_a_source_without_a_listing_is_refused(tmp_path, source: dict[str, Any], message: str):
    made = world(tmp_path, source=source)

    assert run(made) == 64
    assert f"$.data.source.artifactPaths: {message}" in made.control.reports[0].message


def test_a_store_that_is_away_is_asked_again_and_one_that_refuses_is_not(tmp_path):
    away = world(tmp_path)
    away.store.script = Script(list=[Unavailable("down"), Unavailable("down")])
    assert run(away) == 0
    assert away.store.script.count["list"] == 3

    refused = world(tmp_path)
    refused.store.script = Script(list=[Forbidden("no", remedy="grant s3:ListBucket")])
    assert run(refused) == 64
    assert "grant s3:ListBucket" in refused.control.reports[0].message


def test_a_result_that_does_not_fit_is_no_half_result(tmp_path):
    made = world(tmp_path, 'repeat("x", 300000)')

    assert run(made) == 64
    assert "result" not in made.control.reports[0].outputs
    assert "do not fit" in made.control.reports[0].message


def test_a_wish_to_stop_ends_an_evaluation(tmp_path):
    made = world(tmp_path, "count(1..3000000, # > 0)")
    evaluating = made.journal.write

    def stop_then(kind: str, **fields: Any) -> None:
        evaluating(kind, **fields)
        if kind == "enter" and fields["phase"] == "transforming":
            made.stop()

    made.journal.write = stop_then  # type: ignore[method-assign]

    assert run(made) == 64
    assert made.states["expression 0"] == "abandoned"
