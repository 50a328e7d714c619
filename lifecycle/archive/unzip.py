"""The entries of a zip as :mod:`members` takes them: their content inflated, and held against what was said of it.

Sizes and checksums are proven while the bytes come out; an entry never gives more than its directory announced.
"""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from lifecycle.archive import headers, records
from lifecycle.archive.codec import inflater
from lifecycle.archive.directory import Spool, data_start, entries, find_directory
from lifecycle.archive.headers import Member, Source
from lifecycle.archive.records import Entry, shown
from lifecycle.archive.stream import Counted, Readable
from lifecycle.errors import CorruptData, UnsafeArchive, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.archive.codec import Decompressor

_CHUNK = 128 * 1024

# No system makes a longer one.
_MAX_LINK = 4096

_KINDS = {
    stat.S_IFLNK: headers.SYMLINK, stat.S_IFDIR: headers.DIRECTORY, stat.S_IFIFO: headers.FIFO,
    stat.S_IFCHR: headers.CHARACTER, stat.S_IFBLK: headers.BLOCK_DEVICE, stat.S_IFSOCK: headers.FIFO,
}  # fmt: skip

# DOS, OS/2, NTFS, VFAT: there a backslash is no part of a name.
_WINDOWS = (0, 6, 10, 14)


class Zip:
    """A zip in a file. ``count`` is what was read of the entries' data, ``notes`` what the log should say."""

    def __init__(self, fd: int) -> None:
        """``fd`` stays the caller's.

        Raises:
            CorruptData, Unsupported: as :func:`lifecycle.archive.directory.find_directory`.
        """
        self._data = Spool(fd)
        self._records = Spool(fd)
        self.directory = find_directory(self._records)
        self.count = 0
        self.notes: dict[str, None] = {}
        if self.directory.shift:
            self.notes[f"{self.directory.shift} bytes before the zip are left out"] = None

    def members(self, came_out: Callable[[int], None]) -> Iterator[tuple[Member, Source]]:
        """The entries in the directory's order, each with its content; it is proven whole when the next is asked for.

        ``came_out`` is told of every piece that was inflated.

        Raises:
            CorruptData: an entry contradicts itself, its checksum or its size is wrong.
            UnsafeArchive: entries share their data.
            Unsupported: an entry is encrypted, or compressed in a way that is not read here.
        """
        offsets = self._offsets()
        for entry in entries(self._records, self.directory):
            following = bisect_right(offsets, entry.offset)
            end = offsets[following] if following < len(offsets) else self.directory.offset
            _refuse(entry)
            begin = data_start(self._data, entry, end)
            member = self._member(entry)
            source = Source(Counted(_Content(self, entry, begin), came_out))
            if member.kind == headers.SYMLINK:
                if entry.size > _MAX_LINK:
                    raise _refused(entry, f"is a symbolic link to {entry.size} bytes of text")
                member.link = source.read(entry.size).decode("utf-8", "surrogateescape")
                member.size = member.stored = 0
            yield member, source
            source.drain()

    def _offsets(self) -> array[int]:
        """Where the entries begin, in order: 8 bytes for each."""
        offsets = array("Q")
        for entry in entries(self._records, self.directory):
            if entry.offset >= self.directory.offset:
                raise records.damaged(f"the entry {shown(entry.name)} is told to be behind all entries")
            offsets.append(entry.offset)
        if any(a >= b for a, b in pairwise(offsets)):
            offsets = array("Q", sorted(offsets))
            if any(a == b for a, b in pairwise(offsets)):
                raise UnsafeArchive(
                    "two entries of the zip overlap: they begin at the same place",
                    remedy="do not unpack this archive before you know who made it",
                )
        return offsets

    def _member(self, entry: Entry) -> Member:
        name = self._name(entry)
        unix = entry.host in (records.UNIX, records.MACOS)
        mode = entry.attributes >> 16 if unix else 0
        kind = _KINDS.get(stat.S_IFMT(mode), headers.REGULAR)
        if kind == headers.FIFO and entry.size:
            kind = headers.REGULAR  # what Info-ZIP's zip read from a pipe
        if name.endswith("/") or (not unix and entry.attributes & 0x10):
            if kind not in (headers.REGULAR, headers.DIRECTORY):
                raise _refused(entry, "is a directory by its name, and something else by its mode")
            kind = headers.DIRECTORY
        if kind == headers.DIRECTORY and entry.size:
            raise _refused(entry, f"is a directory, but has {entry.size} bytes of content")
        if not mode:
            mode = 0o755 if kind == headers.DIRECTORY else 0o644
        mtime_ns, exact = records.seconds(entry)
        if not exact:
            self.notes["times are of no known zone: taken as UTC"] = None
        uid, gid = records.owner(entry)
        return Member(name, kind, mode & 0o777, uid, gid, mtime_ns, "", entry.size, entry.size)

    def _name(self, entry: Entry) -> str:
        raw = records.unicode_name(entry)
        if raw is None:
            raw = entry.name
            if not entry.flags & records.UTF8 and entry.host in _WINDOWS and not _is_utf8(raw):
                raw = raw.decode("cp437").encode()
        name = raw.decode("utf-8", "surrogateescape")
        if entry.host in _WINDOWS and "\\" in name and "/" not in name:
            self.notes["backslashes in names were taken for slashes"] = None
            name = name.replace("\\", "/")
        return name

    def read(self, offset: int, size: int) -> bytes:
        """A piece of an entry's data, counted."""
        data = self._data.at(offset, size)
        self.count += len(data)
        return data


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse(entry: Entry) -> None:
    if entry.flags & (records.ENCRYPTED | records.STRONG | records.MASKED):
        raise Unsupported(
            f"the entry {shown(entry.name)} is encrypted, and there is no password for it",
            remedy="store it without a password; use the store's encryption instead",
        )
    known = (records.STORED, records.DEFLATED, records.BZIP2, records.LZMA, records.ZSTD)
    if entry.method not in known or entry.flags & records.PATCHED:
        how = "a patch" if entry.flags & records.PATCHED else records.method_name(entry.method)
        raise Unsupported(
            f"the entry {shown(entry.name)} is stored as {how}, which cannot be unpacked",
            remedy="store it with deflate, which is every zip program's default",
        )


class _Content(Readable):
    """What one entry holds; at its end it is whole, or an error."""

    def __init__(self, archive: Zip, entry: Entry, begin: int) -> None:
        self._archive = archive
        self._entry = entry
        self._at = begin
        self._left = entry.stored
        self._count = 0
        self._crc = 0
        self._done = False
        self._engine: Decompressor | None = None
        if entry.method != records.STORED:
            marked = bool(entry.flags & records.LZMA_MARKED)
            try:
                self._engine = inflater(entry.method, self._take, entry.size, marked=marked)
            except CorruptData as error:
                raise self._wrong(f"is damaged: {error}") from error

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return self.readall()
        if self._done:
            return b""
        # One byte more than there should be, to see that there is none.
        data = self._next(min(size, _CHUNK, self._entry.size - self._count + 1))
        self._count += len(data)
        if self._count > self._entry.size:
            raise self._wrong(f"has more than the {self._entry.size} bytes that it says")
        self._crc = records.crc32(data, self._crc)
        if not data:
            self._finish()
        return data

    def _next(self, size: int) -> bytes:
        engine = self._engine
        if engine is None:
            return self._take(size)
        while not engine.eof:
            fed = self._take(_CHUNK) if engine.needs_input else b""
            if engine.needs_input and not fed:
                raise self._wrong("is damaged: its data ends too early")
            try:
                data = engine.decompress(fed, size)
            except MemoryError:
                raise
            except Exception as error:
                # Each library has an error type of its own, and bz2 raises OSError.
                raise self._wrong(f"is damaged: {error}") from error
            if data:
                return data
        if self._left or engine.unused_data:
            raise self._wrong("has data behind its end")
        return b""

    def _take(self, size: int) -> bytes:
        data = self._archive.read(self._at, min(size, self._left))
        if not data and self._left and size:
            raise self._wrong("is cut")
        self._at += len(data)
        self._left -= len(data)
        return data

    def _finish(self) -> None:
        if self._count != self._entry.size:
            raise self._wrong(f"has {self._count} bytes, not the {self._entry.size} that it says")
        if self._left:
            raise self._wrong("has data behind its end")
        if self._crc != self._entry.crc:
            raise self._wrong("has a wrong checksum")
        self._done = True

    def _wrong(self, what: str) -> CorruptData:
        return _refused(self._entry, what)


def _refused(entry: Entry, what: str) -> CorruptData:
    return CorruptData(
        f"the zip's entry {shown(entry.name)} {what}",
        remedy="store the artifact again; the archive is not what its maker meant",
    )
