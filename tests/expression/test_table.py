"""Every row of the table, and every error with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lifecycle.expression import Limits, evaluate
from lifecycle.expression.errors import ExpressionError
from lifecycle.expression.values import to_json

VARIABLES = {
    "data": ["a/main.log", "b/x.txt", "c/main.log"],
    "users": [{"name": "John", "age": 30}, {"name": "Ann", "age": 25}, {"name": "Bob", "age": 30}],
    "user": {"name": "John", "tags": ["x", "y"], "none": None},
}
ROWS = [
    tuple(line.rsplit(" => ", 1))
    for line in (Path(__file__).parent / "table.txt").read_text().splitlines()
    if line and not line.startswith("# ") and not line.startswith("#  ")
]


def test_the_table_is_as_long_as_was_asked_for():
    assert len(ROWS) >= 150


@pytest.mark.parametrize(("expression", "value"), ROWS)
def test_an_expression_has_the_value_of_the_definition(expression: str, value: str):
    assert json.loads(to_json(evaluate(expression, VARIABLES))) == json.loads(value)


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("", 1, "ends too early"),
        ("1 +", 4, "ends too early"),
        ("1 2", 3, "unexpected '2'"),
        ("(1", 3, "ends too early"),
        ("a b", 3, "unexpected 'b'"),
        ('"abc', 1, "a string that does not end"),
        ("1 @ 2", 3, "unexpected '@'"),
        (r"'a\q'", 3, r"unknown escape \\q"),
        ("99999999999999999999", 1, "larger than 64 bits"),
        ("nil ?? 1 + 2", 10, "cannot be mixed"),
        ("nobody", 1, "no variable 'nobody'"),
        ("1 + nobody.x", 5, "no variable 'nobody'"),
        ("#", 1, "outside of a predicate"),
        ("shout(1)", 1, "no function 'shout'"),
        ("now()", 1, "JSON, which has no times"),
        ("user.name.first()", 11, "no methods such as first"),
        ("len()", 1, "takes 1 arguments, not 0"),
        ("filter(data)", 1, "takes 2 arguments"),
        ("filter(data, len(#))", 14, "a bool is needed, not int"),
        ("filter(1, true)", 1, "needs an array, not int"),
        ("1 and true", 1, "a bool is needed, not int"),
        ("1 + 'a'", 3, r"\+ cannot take int and string"),
        ("1 < 'a'", 3, "cannot be ordered"),
        ("5 % 0", 3, "by zero"),
        ("-'a'", 1, "- needs a number"),
        ("[1][5]", 5, "no element 5: there are 1"),
        ("5[0]", 3, "int has no member 0"),
        ("'x' matches '('", 5, "is no regular expression"),
        ("'x' matches '(?=y)'", 5, "is no regular expression"),
        ("9223372036854775807 + 1", 21, "larger than 64 bits"),
        ("let data = 1; 2", 1, "a variable 'data' already"),
        ("int('x')", 1, "cannot read 'x'"),
        ("fromJSON('{')", 1, "was given no JSON"),
        ("sort([1, 'a'])", 1, "cannot be ordered"),
        ("sort([1], 'up')", 1, "'asc' or 'desc'"),
        ("reduce([], #acc)", 1, "needs an initial value"),
    ],
)
def test_what_is_wrong_is_said_with_its_column(expression: str, column: int, message: str):
    with pytest.raises(ExpressionError, match=message) as caught:
        evaluate(expression, VARIABLES)

    assert (caught.value.line, caught.value.column) == (1, column)


def test_a_line_is_counted():
    with pytest.raises(ExpressionError, match="line 2, column 3"):
        evaluate("1 +\n  nobody", {})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1..1000 | map(1..1000) | len()", "more than 100000 elements"),
        ("1..1000000000", "the range has more than"),
        ("count(1..1000, any(1..1000, # > 5000))", "more than 100000 steps"),
        ("repeat('abcd', 1000000)", "the string has more than"),
        ("repeat('a', 1000001)", "a number from 0 to 1000000"),
        ("reduce(1..60, #acc + #acc, 'ab')", "makes more than"),
    ],
)
def test_an_expression_that_costs_too_much_is_stopped(expression: str, message: str):
    with pytest.raises(ExpressionError, match=message):
        evaluate(expression, {}, Limits(steps=100_000, room=100_000))


@pytest.mark.parametrize(
    "deep",
    [
        "(" * 500 + "1" + ")" * 500,
        "[" * 500 + "]" * 500,
        "not " * 500 + "true",
        "2 ** " * 500 + "2",
        "{a: " * 500 + "1" + "}" * 500,
    ],
)
def test_what_is_nested_too_deeply_is_an_error_and_no_crash(deep: str):
    with pytest.raises(ExpressionError, match="nested more than 100 deep"):
        evaluate(deep, {})


def test_a_long_row_is_not_a_deep_one():
    assert evaluate(" + ".join(["1"] * 10_000), {}) == 10_000
    assert evaluate(" or ".join(["false"] * 5_000), {}) is False


def test_a_regular_expression_takes_time_that_is_linear_in_its_text():
    assert evaluate("text matches '^(a+)+$'", {"text": "a" * 100_000 + "b"}) is False


def test_a_result_is_encoded_as_go_does_it():
    assert to_json({"b": 2.0, "a": "<&>", 1: None}) == r'{"1":null,"a":"\u003c\u0026\u003e","b":2}'
