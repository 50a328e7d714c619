"""A temporary file without a name: for a body whose length or checksum must be known before its first byte is sent."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

from lifecycle.errors import StorageFull, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE: Final = 256 * 1024  # what is read and sent at once


def read_up_to(stream: BinaryIO, size: int) -> bytearray:
    """Exactly ``size`` bytes, fewer only at the end; a pipe gives 64 KiB at a time."""
    data = bytearray()  # a list of pieces to join would be twice as much for a moment
    while len(data) < size and (piece := stream.read(min(size - len(data), PIECE))):
        data += piece
    return data


@contextmanager
def spooled(
    head: bytearray, stream: BinaryIO, seen: Callable[[bytes | bytearray], object] = len
) -> Iterator[tuple[BinaryIO, int]]:
    """``head`` and all that the stream gives, as a file at its beginning, and its size; ``seen`` is shown every piece.

    It has no name from the start, so nothing of it stays, whatever ends this process.

    Raises:
        StorageFull: no room for it.
        LifecycleError: it cannot be written for another reason.
        Exception: whatever the stream raised.
    """
    with _opened() as file:
        size = 0
        piece: bytes | bytearray = head or stream.read(PIECE)
        del head
        while piece:
            seen(piece)
            with _writing():
                size += file.write(piece)
            piece = stream.read(PIECE)
        with _writing():
            file.seek(0)  # writes what is buffered, too
        yield file, size


def _opened() -> BinaryIO:
    with _writing():
        return tempfile.TemporaryFile(prefix="argoexec-")


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        meaning = from_os_error(error)
        if isinstance(meaning, StorageFull):
            meaning = StorageFull(
                f"no room in {tempfile.gettempdir()} for the object, which is written there before it is sent",
                remedy="raise the ephemeral-storage limit, or name a larger directory in TMPDIR",
            )
        raise meaning from error
