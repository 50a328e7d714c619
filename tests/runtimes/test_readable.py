"""Waiting for one of several descriptors."""

import os

import pytest

from runtimes.readable import readable


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_nothing_is_readable_before_something_comes(pipe):
    assert readable([pipe[0], None], 0.0) == set()


@pytest.mark.parametrize("timeout", [None, -1.0, 1e9])
def test_whatever_the_time_that_is_allowed_what_is_there_is_seen(pipe, timeout):
    """A grace of 31 years is one that the settings take."""
    os.write(pipe[1], b"x")

    assert readable([pipe[0], None], timeout) == {pipe[0]}
