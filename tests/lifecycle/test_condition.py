"""Conditions of resource templates: label selectors over paths."""

from __future__ import annotations

import pytest

from lifecycle import condition
from lifecycle.errors import InputError

JOB = {
    "status": {
        "phase": "Succeeded",
        "succeeded": 2,
        "ratio": 1.5,
        "whole": 3.0,
        "ready": True,
        "nothing": None,
        "conditions": [{"type": "Complete", "status": "True"}],
    },
    "0": {"x": "object"},
    "example.com/name": "slash",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status.phase=Succeeded", True),
        ("status.phase==Succeeded", True),
        ("status.phase = Succeeded", True),
        ("status.phase=Failed", False),
        ("status.phase!=Failed", True),
        ("status.phase!=Succeeded", False),
        ("status.missing!=x", True),
        ("status.missing=x", False),
        ("status.missing=", False),
        ("status.nothing=", True),
        ("status.phase in (Failed, Succeeded)", True),
        ("status.phase in (Failed)", False),
        ("status.phase notin (Failed,Error)", True),
        ("status.phase notin (Succeeded)", False),
        ("status.missing notin (a)", True),
        ("status.missing in (a,)", False),
        ("status.succeeded", True),
        ("status.nothing", True),
        ("status.missing", False),
        ("!status.missing", True),
        ("! status.phase", False),
        ("status.succeeded > 1", True),
        ("status.succeeded>2", False),
        ("status.succeeded < 3", True),
        ("status.succeeded=2", True),
        ("status.whole=3", True),
        ("status.ratio=1.5", True),
        ("status.ratio>1", False),
        ("status.phase>1", False),
        ("status.missing<5", False),
        ("status.ready=true", True),
        ("status.conditions.0.type=Complete", True),
        ("status.conditions.1.type=Complete", False),
        ("status.conditions.x", False),
        ("0.x=object", True),
        ("example.com/name=slash", False),
    ],
)
def test_a_requirement_is_met_as_a_label_selector_is(text: str, expected: bool):
    [requirement] = condition.parse(text, place="p")

    assert requirement.matches(JOB) is expected


def test_all_of_a_success_condition_and_any_of_a_failure_condition():
    both = condition.parse("status.phase=Succeeded,status.succeeded > 5", place="p")

    assert not condition.success(both, JOB)
    assert condition.failure(both, JOB) == both[0]
    assert condition.success((), JOB)
    assert condition.failure((), JOB) is None
    assert [one.text for one in both] == ["status.phase=Succeeded", "status.succeeded > 5"]


def test_an_object_is_compared_by_its_json():
    assert condition.text_of({"a": [1, True]}) == '{"a":[1,true]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=x", "column 1: '=' is no path"),
        ("a=b=c", "column 4: a comma is expected"),
        ("a b", "column 3: unexpected 'b'"),
        ("a in b", "column 6: '\\(' is expected"),
        ("a in (b", "column 8: '\\)' is expected"),
        ("a>b", "column 3: > compares with an integer, not 'b'"),
        ("a#b=c", "column 1: 'a#b' is no path"),
        ("a=b|c", "column 3: 'b|c' is no value".replace("|", r"\|")),
        ("x" * 64, "column 1: .* is no path"),
        ("a,,b", "column 3: ',' is no path"),
        ("!", "column 2: a path is expected"),
    ],
)
def test_what_is_no_condition_is_said_with_its_column(text: str, message: str):
    with pytest.raises(InputError, match=rf"\$\.resource\.successCondition: {message}"):
        condition.parse(text, place="$.resource.successCondition")
