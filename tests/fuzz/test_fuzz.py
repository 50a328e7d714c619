"""What was found by `python -m tests.fuzz` stays mended; and some cases of a seed that is always the same."""

import pytest

from tests.fuzz.__main__ import FOUND
from tests.fuzz.judge import Judge
from tests.fuzz.mutations import Maker, seeds


@pytest.fixture
def judge():
    with Judge() as judge:
        yield judge


@pytest.mark.parametrize("case", sorted(path.name for path in FOUND.iterdir() if path.suffix))
def test_what_was_found_stays_mended(judge, case):
    declared = case.rpartition(".")[2]
    judge((FOUND / case).read_bytes(), None if declared == "any" else declared)


def test_good_archives_are_unpacked(judge):
    for data, declared in seeds():
        assert judge(data, declared).startswith("directory")


def test_a_few_hundred_changed_archives_do_nothing_that_none_may(judge):
    maker = Maker(1)
    answers = set()
    for _ in range(400):
        data, declared = maker.case()
        answers.add(judge(data, declared))
        maker.keep(data, declared)
    assert len(answers) > 50, "the cases are all alike"
