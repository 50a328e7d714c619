"""Frames of docker's logs, cut wherever a socket may cut them."""

import struct
import tracemalloc

import pytest

from lifecycle.errors import CorruptData, Unavailable
from runtimes.dockerlogs import STDERR, STDOUT, SYSTEM_ERROR, payloads

BOTH = frozenset({STDOUT, STDERR})


def frame(kind, payload):
    return struct.pack(">BxxxI", kind, len(payload)) + payload


LOG = frame(1, b"one\n") + frame(2, b"err\xff\n") + frame(1, b"") + frame(1, b"two\0" * 5) + frame(2, b"!")


def read(pieces, wanted=BOTH):
    return b"".join(payloads(iter(pieces), wanted=wanted))


@pytest.mark.parametrize("at", range(len(LOG) + 1))
def test_frames_may_be_cut_at_every_byte(at):
    pieces = [LOG[:at], LOG[at:]]

    assert read(pieces) == b"one\nerr\xff\n" + b"two\0" * 5 + b"!"
    assert read(pieces, frozenset({STDOUT})) == b"one\n" + b"two\0" * 5


def test_frames_may_come_byte_by_byte():
    assert read(bytes([one]) for one in LOG) == read([LOG])


@pytest.mark.parametrize("at", [one for one in range(1, len(LOG)) if one not in {12, 25, 33, 61}])
def test_a_log_that_ends_in_a_frame_is_no_whole_log(at):
    with pytest.raises(Unavailable):
        read([LOG[:at]])


def test_what_are_no_frames_is_said():
    with pytest.raises(CorruptData):
        read([b"a line of a terminal\n"])


def test_an_error_of_the_daemon_in_the_log_is_an_error():
    with pytest.raises(Unavailable, match="no such file"):
        read([frame(1, b"text"), frame(SYSTEM_ERROR, b"no such file")])


def test_a_large_frame_is_not_gathered():
    def pieces():
        yield struct.pack(">BxxxI", 1, 64 << 20)
        for _ in range(1024):
            yield bytes(64 << 10)

    tracemalloc.start()
    try:
        assert sum(map(len, payloads(pieces(), wanted=BOTH))) == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
