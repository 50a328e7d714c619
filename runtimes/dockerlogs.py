"""The logs of a container as docker sends them: frames of 8 bytes and a payload, stdout and stderr told apart.

The SDK makes an object of every frame, and does not tell one stream from the other where it gives a log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lifecycle.errors import CorruptData, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT, STDERR, SYSTEM_ERROR = 1, 2, 3
"""Of a frame; 0 is stdin, which logs have none of."""
_HEADER: Final = 8
_KINDS: Final = frozenset({0, STDOUT, STDERR, SYSTEM_ERROR})


def payloads(pieces: Iterator[bytes], *, wanted: frozenset[int]) -> Iterator[bytes]:
    """What is in the frames of the wanted kinds, in the order they came; memory is that of one piece.

    Raises:
        CorruptData: those are no frames.
        Unavailable: they end in the middle of one, or the daemon tells of an error.
    """
    frames = _Frames(wanted)
    for piece in pieces:
        if out := frames.feed(piece):
            yield b"".join(out)
    frames.end()


class _Frames:
    """Where one is in a log: in a header, or so many bytes before the end of a payload."""

    def __init__(self, wanted: frozenset[int]) -> None:
        self._wanted = wanted
        self._header = bytearray()
        self._kind, self._left = 0, 0
        self._error = bytearray()

    def feed(self, piece: bytes) -> list[memoryview]:
        """The parts of a piece that are wanted."""
        view, out = memoryview(piece), []
        while view:
            if not self._left:
                view = self._begin(view)
                continue
            part, view = view[: self._left], view[self._left :]
            self._left -= len(part)
            if self._kind == SYSTEM_ERROR:
                self._error += part
                self._check_error()
            elif self._kind in self._wanted:
                out.append(part)
        return out

    def end(self) -> None:
        """Nothing follows."""
        if self._header or self._left:
            raise Unavailable("the container's log ended in the middle of a frame")

    def _begin(self, view: memoryview) -> memoryview:
        """Take a header, or what has come of it; what is behind it is left."""
        header = self._header
        missing = _HEADER - len(header)
        header += view[:missing]
        if len(header) == _HEADER:
            if header[0] not in _KINDS or any(header[1:4]):
                raise CorruptData(f"the container's log has no frame at {bytes(header)!r}")
            self._kind, self._left = header[0], int.from_bytes(header[4:], "big")
            header.clear()
        return view[missing:]

    def _check_error(self) -> None:
        if not self._left:
            said = self._error.decode(errors="replace").strip()
            raise Unavailable(f"the docker daemon cannot read the log: {said}")
