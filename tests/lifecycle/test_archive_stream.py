"""The small streams: exact reads, errors that stay, a look ahead, a count."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.archive.stream import ChunkReader, Counted, Head


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(1, 30), min_size=1))
def test_chunks_are_read_as_one_stream_in_exact_pieces(chunks, sizes):
    whole = b"".join(chunks)
    stream = ChunkReader(iter(chunks))
    at = 0
    for size in sizes:
        assert stream.read(size) == whole[at : at + size]
        at += size
    assert stream.read() == whole[at:]
    assert stream.read(1) == b""
    stream.close()


def test_a_buffer_is_filled_from_chunks():
    with io.BufferedReader(ChunkReader(iter([b"ab\ncd", b"", b"ef\n"]))) as stream:
        assert stream.readlines() == [b"ab\n", b"cdef\n"]


def test_closing_closes_the_generator_once_and_then_calls():
    said = []

    def chunks():
        try:
            yield b"x"
            yield b"y"
        finally:
            said.append("generator")

    stream = ChunkReader(chunks(), lambda: said.append("callback"))
    assert stream.read(1) == b"x"
    stream.close()
    stream.close()
    assert said == ["generator", "callback"]
    with pytest.raises(ValueError):
        stream.read(1)


def test_an_error_of_the_iterator_is_no_end_of_the_stream_for_whoever_reads_on():
    def chunks():
        yield b"x"
        raise ConnectionResetError("gone")

    stream = ChunkReader(chunks())
    assert stream.read(1) == b"x"
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            stream.read(1)
    stream.close()


def test_what_was_looked_at_is_still_read():
    inner = ChunkReader(iter([b"abc", b"def"]))
    head = Head(inner)
    assert head.peek(2) == b"ab"
    assert head.peek(4) == b"abcd"
    assert head.read(3) == b"abc"
    assert head.peek(100) == b"def"
    assert head.read() == b"def"
    assert head.peek(1) == b""
    head.close()
    assert not inner.closed
    inner.close()


def test_bytes_are_counted_as_they_are_read():
    moved = []
    stream = Counted(io.BytesIO(b"x" * 10), moved.append)
    assert len(stream.read(4)) == 4
    assert stream.count == 4
    assert len(stream.read()) == 6
    assert stream.read(1) == b""
    assert (stream.count, moved) == (10, [4, 6])
