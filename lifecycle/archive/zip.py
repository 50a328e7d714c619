"""A tar stream as a zip, made while it is sent: neither a disk nor the content of more than one chunk is needed.

Made of the tar that a source gives anyway, so a path of a volume and one of main's base layer become the same zip. A
zip cannot hold hard links (each becomes a file of its own) nor devices and fifos (left out); both are told.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, BinaryIO

from lifecycle.archive import headers, records
from lifecycle.archive.codec import deflater, inflater
from lifecycle.archive.headers import Source
from lifecycle.archive.stream import ChunkReader
from lifecycle.errors import CorruptData, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.archive.headers import Member
    from lifecycle.archive.tar import TarStats

CHUNK = 256 * 1024

_MAX_NAME = 0xFFFF
_SPECIAL = {headers.FIFO: "a fifo", headers.CHARACTER: "a device", headers.BLOCK_DEVICE: "a device"}


def zip_chunks(
    tar: Iterator[bytes], reopen: Callable[[str], BinaryIO], found: TarStats, moved: Callable[[int], None]
) -> Iterator[bytes]:
    """The entries of ``tar`` as a zip, in the same order and with the same names.

    ``reopen`` opens a file by its path below the tar's first entry: a hard link's content went by earlier. ``moved`` is
    told of every piece of content. What is left out, or is not what it was, is told in ``found``.

    Raises:
        CorruptData: ``tar`` is none.
        Unsupported: a name is longer than the 65,535 bytes that a zip can tell.
        LifecycleError: whatever ``tar`` and ``reopen`` raise.
    """
    with ChunkReader(tar) as stream:
        source = Source(stream)
        writer = _Writer(reopen, found, moved)
        pending = bytearray()
        for piece in writer.pieces(source):
            pending += piece
            if len(pending) >= CHUNK:
                yield bytes(pending)
                pending.clear()
        yield bytes(pending)


class _Writer:
    """What was written so far, and the directory of it."""

    def __init__(self, reopen: Callable[[str], BinaryIO], found: TarStats, moved: Callable[[int], None]) -> None:
        self._reopen = reopen
        self._found = found
        self._moved = moved
        self._offset = 0
        self._count = 0
        self._directory = _Directory()
        self._base: str | None = None

    def pieces(self, source: Source) -> Iterator[bytes]:
        for member in headers.members(source):
            if self._base is None:
                self._base = member.name.rstrip("/")
            for piece in self._entry(member, source):
                self._offset += len(piece)
                yield piece
        begin = self._offset
        for piece in self._directory.whole():
            self._offset += len(piece)
            yield piece
        yield records.end_of_directory(self._count, self._offset - begin, begin)

    def _entry(self, member: Member, source: Source) -> Iterator[bytes]:
        if member.kind in _SPECIAL:
            self._found.skipped.append(f"{member.name!r}: {_SPECIAL[member.kind]}")
        elif member.kind == headers.DIRECTORY:
            yield from self._whole(member, stat.S_IFDIR, b"")
        elif member.kind == headers.SYMLINK:
            yield from self._whole(member, stat.S_IFLNK, _raw(member.link))
        elif member.kind == headers.HARD_LINK:
            self._found.hard_links += 1
            with self._reopen(self._below(member)) as file:
                # How much there is it does not tell.
                yield from self._streamed(member, iter(lambda: file.read(CHUNK), b""), large=True)
        elif member.size <= CHUNK and member.segments is None:
            data = source.read(member.stored)
            self._moved(len(data))
            yield from self._whole(member, stat.S_IFREG, data)
        else:
            yield from self._streamed(member, _content(member, source), large=member.size >= records.LARGE)

    def _below(self, member: Member) -> str:
        name, base = member.name, self._base or ""
        if not name.startswith(base + "/"):
            raise CorruptData(f"the tar stream has the hard link {name!r}, which is not below {base!r}")
        return name[len(base) + 1 :]

    def _whole(self, member: Member, kind: int, data: bytes) -> Iterator[bytes]:
        """What is at hand: its header tells everything, and it is deflated only where that helps."""
        method, stored = records.STORED, data
        if kind == stat.S_IFREG and data:
            engine = deflater()
            deflated = engine.compress(data) + engine.flush()
            if len(deflated) < len(data):
                method, stored = records.DEFLATED, deflated
        name, flags, when, extra = _described(member, kind)
        sizes = (records.crc32(data), len(stored), len(data))
        offset = self._offset
        yield records.local_header(name, flags, method, when, *sizes, extra)
        yield stored
        self._remember(name, flags, method, when, sizes, extra, member.mode | kind, offset)

    def _streamed(self, member: Member, content: Iterator[bytes], *, large: bool) -> Iterator[bytes]:
        """What is longer than a chunk: its sizes follow it."""
        name, flags, when, extra = _described(member, stat.S_IFREG)
        flags |= records.DESCRIBED
        offset = self._offset
        yield records.local_header(name, flags, records.DEFLATED, when, 0, 0, 0, extra, large=large)
        engine = deflater()
        crc = stored = size = 0
        for piece in content:
            crc = records.crc32(piece, crc)
            size += len(piece)
            self._moved(len(piece))
            if deflated := engine.compress(piece):
                stored += len(deflated)
                yield deflated
        deflated = engine.flush()
        stored += len(deflated)
        yield deflated
        yield records.descriptor(crc, stored, size, large=large)
        self._remember(
            name, flags, records.DEFLATED, when, (crc, stored, size), extra, member.mode | stat.S_IFREG, offset
        )

    def _remember(
        self, name: bytes, flags: int, method: int, when: tuple[int, int], sizes: tuple[int, int, int], extra: bytes,
        mode: int, offset: int,
    ) -> None:  # fmt: skip
        self._count += 1
        self._directory.add(records.central_header(name, flags, method, when, *sizes, extra, mode, offset))


class _Directory:
    """The central directory, held deflated until it is due: 25 bytes for an entry rather than 93."""

    def __init__(self) -> None:
        self._engine = deflater()
        self._pending = bytearray()
        self._held: list[bytes] = []

    def add(self, record: bytes) -> None:
        self._pending += record
        if len(self._pending) >= CHUNK:
            self._deflate()

    def whole(self) -> Iterator[bytes]:
        self._deflate()
        self._held.append(self._engine.flush())
        engine = inflater(records.DEFLATED, lambda _: b"", 0, marked=False)
        for held in self._held:
            data = held
            while not engine.eof and (data or not engine.needs_input):
                yield engine.decompress(data, CHUNK)
                data = b""

    def _deflate(self) -> None:
        if deflated := self._engine.compress(bytes(self._pending)):
            self._held.append(deflated)
        self._pending.clear()


def _described(member: Member, kind: int) -> tuple[bytes, int, tuple[int, int], bytes]:
    """Name, flags, DOS time and extra fields."""
    name = _raw(member.name.strip("/")) + (b"/" if kind == stat.S_IFDIR else b"")
    if len(name) > _MAX_NAME:
        raise Unsupported(
            f"the path {member.name[:100]!r}… has {len(name)} bytes, and a zip can hold {_MAX_NAME}",
            remedy="store it as tar",
        )
    mtime = member.mtime_ns // 10**9
    return name, _flags(name), records.dos_time(mtime), records.extra_fields(mtime, member.uid, member.gid)


def _flags(name: bytes) -> int:
    """A name that is no UTF-8 stays the bytes that it is, as Info-ZIP does it; nothing can say what they mean."""
    try:
        return 0 if name.isascii() or not name.decode() else records.UTF8
    except UnicodeDecodeError:
        return 0


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _content(member: Member, source: Source) -> Iterator[bytes]:
    """A file's bytes; a zip knows no holes."""
    if member.segments is None:
        yield from source.pieces(member.stored)
        return
    at = 0
    for offset, length in member.segments:
        yield from _zeros(offset - at)
        yield from source.pieces(length)
        at = offset + length
    yield from _zeros(member.size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, CHUNK))
        count -= CHUNK
