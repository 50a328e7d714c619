"""The central directory of a zip in a file, believed only where everything in the zip agrees with it.

Programs differ in where they find it and in whether they look at it or at the headers before each entry's data; an
archive that means different things to them is refused (ADR 0018).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.archive import records
from lifecycle.archive.records import Entry, shown
from lifecycle.errors import CorruptData, UnsafeArchive, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

_WINDOW = 256 * 1024


class Spool:
    """A zip in a file: any piece of it, with a window so that neighbours cost one read."""

    def __init__(self, fd: int) -> None:
        """``fd`` stays the caller's."""
        self._fd = fd
        self._window = b""
        self._from = 0
        self.length = os.fstat(fd).st_size

    def at(self, offset: int, size: int) -> bytes:
        """So many bytes from there; fewer only at the end of the file."""
        begin = offset - self._from
        if not 0 <= offset < self.length:
            return b""
        if not 0 <= begin <= begin + size <= len(self._window):
            self._window = b""
            self._from, begin = offset, 0
            self._window = os.pread(self._fd, max(size, _WINDOW), offset)
        return self._window[begin : begin + size]


@dataclass(frozen=True, slots=True)
class Directory:
    """The central directory: where it is, and what was put before the zip, by which all its offsets are short."""

    offset: int
    size: int
    count: int
    shift: int


def find_directory(spool: Spool) -> Directory:
    """The one central directory, whose end record is the last thing in the file.

    Raises:
        CorruptData: there is none, or something behind it, or two that could be meant: readers would differ in what the
            archive holds.
        Unsupported: a part of several volumes.
    """
    begin = max(0, spool.length - records.END.size - records.FULL16)
    tail = spool.at(begin, spool.length - begin)
    found: list[int] = []
    marks = 0
    at = tail.find(records.END_MARK)
    while at >= 0:
        if at + records.END.size <= len(tail):
            marks += 1
            if at + records.END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
                found.append(at)
        at = tail.find(records.END_MARK, at + 1)
    if not found:
        raise CorruptData(
            "the zip is damaged: bytes follow its end, or the end was cut"
            if marks
            else "the zip has no central directory: it was cut, or it is no zip",
            remedy="store the artifact again; the upload or the download was interrupted, or something was appended",
        )
    if len(found) > 1:
        raise CorruptData("the zip is ambiguous: its comment holds another end of directory", remedy=records.REMEDY)
    position = begin + found[0]
    _, disk, first_disk, here, count, size, offset, _ = records.END.unpack_from(tail, found[0])
    if disk not in (0, records.FULL16) or first_disk not in (0, records.FULL16) or here != count:
        raise Unsupported("the zip is one part of several volumes, and cannot be unpacked", remedy=records.REMEDY)
    end = position
    locator = (
        spool.at(position - records.LOCATOR.size, records.LOCATOR.size) if position >= records.LOCATOR.size else b""
    )
    if locator.startswith(records.LOCATOR_MARK):
        end, count, size, offset = _read_end64(spool, position - records.LOCATOR.size, locator, (count, size, offset))
    start = end - size
    if start < offset:
        raise records.damaged(f"its directory of {size} bytes at {offset} does not fit before its end at {end}")
    if count * records.CENTRAL.size > size or (size and not count):
        raise records.damaged(f"its directory of {size} bytes cannot hold {count} entries")
    return Directory(start, size, count, start - offset)


def _read_end64(
    spool: Spool, locator_at: int, locator: bytes, narrow: tuple[int, int, int]
) -> tuple[int, int, int, int]:
    """Where the directory ends by zip64's own end record, and its count, size and offset."""
    disk: int
    told: int
    disks: int
    _, disk, told, disks = records.LOCATOR.unpack(locator)
    if disk or disks > 1:
        raise Unsupported("the zip is one part of several volumes, and cannot be unpacked", remedy=records.REMEDY)
    # Where it is told to be, or just before its locator: what was put before the zip moves it.
    for at in (told, locator_at - records.END64.size):
        data = spool.at(at, records.END64.size) if 0 <= at <= locator_at - records.END64.size else b""
        if data.startswith(records.END64_MARK):
            break
    else:
        raise records.damaged("the record that its zip64 locator speaks of is not there")
    _, length, _, _, _, _, here, count, size, offset = records.END64.unpack(data)
    if at + 12 + length != locator_at or here != count:
        raise records.damaged("its zip64 end record contradicts itself")
    for value, wide, full in zip(
        narrow, (count, size, offset), (records.FULL16, records.FULL32, records.FULL32), strict=True
    ):
        if value not in (full, wide):
            raise records.damaged("its two end records contradict each other")
    return at, count, size, offset


def entries(spool: Spool, directory: Directory) -> Iterator[Entry]:
    """The central directory's entries, in its order.

    Raises:
        CorruptData: it cannot be read, or does not have as many as it says.
    """
    at, end = directory.offset, directory.offset + directory.size
    for _ in range(directory.count):
        fixed = spool.at(at, records.CENTRAL.size)
        if at + records.CENTRAL.size > end or not fixed.startswith(records.CENTRAL_MARK):
            raise records.damaged(f"its directory cannot be read at byte {at}")
        (
            _, made, _, flags, method, clock, date, crc, stored, size, name_size, extra_size, comment_size, disk, _,
            attributes, offset,
        ) = records.CENTRAL.unpack(fixed)  # fmt: skip
        at += records.CENTRAL.size
        if at + name_size + extra_size + comment_size > end:
            raise records.damaged(
                f"the directory's record at byte {at - records.CENTRAL.size} is longer than the directory"
            )
        name = spool.at(at, name_size)
        extra = records.extra_of(spool.at(at + name_size, extra_size), name)
        at += name_size + extra_size + comment_size
        if disk not in (0, records.FULL16):
            raise Unsupported(f"the entry {shown(name)} is in another volume", remedy=records.REMEDY)
        size, stored, offset = records.widened(extra, name, [size, stored, offset])
        yield Entry(
            name, made >> 8, flags, method, date, clock, crc, stored, size, attributes, offset + directory.shift, extra
        )
    if at != end:
        raise records.damaged("its directory has more than it says")


def data_start(spool: Spool, entry: Entry, end: int) -> int:
    """Where an entry's data begins, its local header and its descriptor held against the directory.

    ``end`` is where the next entry, or the directory, begins.

    Raises:
        CorruptData: they differ. Readers that believe the one would see another archive than those that believe the
            other.
        UnsafeArchive: it reaches beyond ``end``, as where a bomb uses the same data many times.
    """
    fixed = spool.at(entry.offset, records.LOCAL.size)
    if len(fixed) < records.LOCAL.size or not fixed.startswith(records.LOCAL_MARK):
        raise records.damaged(f"the entry {shown(entry.name)} is not where its directory says")
    _, _, flags, method, _, _, crc, stored, size, name_size, extra_size = records.LOCAL.unpack(fixed)
    name = spool.at(entry.offset + records.LOCAL.size, name_size)
    if name != entry.name:
        raise _contradicted(entry, f"the name {shown(name)}")
    if method != entry.method:
        raise _contradicted(entry, f"{records.method_name(method)!r}")
    if (flags ^ entry.flags) & records.ENCRYPTED:
        raise _contradicted(entry, "another word on encryption")
    begin: int = entry.offset + records.LOCAL.size + name_size + extra_size
    extra = records.extra_of(spool.at(entry.offset + records.LOCAL.size + name_size, extra_size), name)
    size, stored, _ = records.widened(extra, name, [size, stored, 0])
    if begin + entry.stored > end:
        raise UnsafeArchive(
            f"the entry {shown(entry.name)} overlaps with what follows it",
            remedy="do not unpack this archive before you know who made it",
        )
    told = (crc, stored, size)
    meant = (entry.crc, entry.stored, entry.size)
    if told == meant:
        return begin
    if not flags & records.DESCRIBED or any(one not in (0, right) for one, right in zip(told, meant, strict=True)):
        raise _contradicted(entry, "another size or checksum")
    # Its mark is optional, and the width of its sizes a matter of taste.
    behind = spool.at(begin + entry.stored, min(24, end - begin - entry.stored))
    forms = [mark + struct.pack(form, *meant) for mark in (records.DESCRIPTOR_MARK, b"") for form in _forms(entry)]
    if not any(behind.startswith(form) for form in forms):
        raise _contradicted(entry, "another size or checksum behind it")
    return begin


def _forms(entry: Entry) -> list[str]:
    return ["<L2Q"] if max(entry.size, entry.stored) > records.FULL32 else ["<3L", "<L2Q"]


def _contradicted(entry: Entry, what: str) -> CorruptData:
    return CorruptData(
        f"the zip contradicts itself: its directory has the entry {shown(entry.name)}, the entry itself has {what}",
        remedy=records.REMEDY,
    )
