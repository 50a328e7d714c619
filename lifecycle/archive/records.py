"""The records of a zip, both ways: what :mod:`zip` writes and :mod:`unzip` reads.

Why not zipfile's: it holds an object for every entry, believes sizes, lets entries overlap, and takes the directory
from wherever its mark is found last. Here there is one directory, which ends the file, and it is read a piece at a
time.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from lifecycle.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Callable

STORED, DEFLATED, BZIP2, LZMA, ZSTD = 0, 8, 12, 14, 93
UNIX, MACOS = 3, 19
ENCRYPTED, DESCRIBED, PATCHED, STRONG, UTF8, MASKED = 1 << 0, 1 << 3, 1 << 5, 1 << 6, 1 << 11, 1 << 13
LZMA_MARKED = 1 << 1

# From here on sizes take eight bytes. Half of what four can tell, so that what grows by deflating still fits.
LARGE = 1 << 31

_METHODS = {
    1: "shrunk", 2: "reduced", 3: "reduced", 4: "reduced", 5: "reduced", 6: "imploded", 9: "deflate64",
    10: "DCL imploded", 20: "zstd of a draft", 94: "mp3", 95: "xz", 96: "jpeg", 97: "WavPack", 98: "PPMd",
    99: "AES encryption",
}  # fmt: skip

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCAL_MARK, CENTRAL_MARK, END_MARK, LOCATOR_MARK, END64_MARK, DESCRIPTOR_MARK = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06", b"PK\x07\x08",
)  # fmt: skip
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64, _TIMES, _OWNER, _NTFS, _UNICODE_NAME = 0x0001, 0x5455, 0x7875, 0x000A, 0x7075

# NTFS counts tenths of a microsecond from 1601.
_EPOCH_1601 = 11_644_473_600

REMEDY = "store the artifact again with a well-kept zip program, or as tar"


@dataclass(slots=True)
class Entry:
    """One entry by the central directory: ``stored`` bytes of data that become ``size``; ``name`` as it is there."""

    name: bytes
    host: int
    flags: int
    method: int
    date: int
    clock: int
    crc: int
    stored: int
    size: int
    attributes: int
    offset: int
    extra: dict[int, bytes]


def shown(name: bytes) -> str:
    """An entry's name as messages tell it."""
    return repr(name.decode("utf-8", "surrogateescape"))


def method_name(method: int) -> str:
    """What APPNOTE calls a compression method that is not read here."""
    return _METHODS.get(method, f"compression method {method}")


# --- writing ---


def local_header(
    name: bytes, flags: int, method: int, when: tuple[int, int], crc: int, stored: int, size: int, extra: bytes,
    *, large: bool = False,
) -> bytes:  # fmt: skip
    """What stands before an entry's data. ``large`` says that its descriptor has sizes of eight bytes."""
    if large:
        extra = struct.pack("<2H2Q", _ZIP64, 16, size, stored) + extra
        size = stored = FULL32
    return (
        LOCAL.pack(LOCAL_MARK, 45 if large else 20, flags, method, *when, crc, stored, size, len(name), len(extra))
        + name
        + extra
    )


def descriptor(crc: int, stored: int, size: int, *, large: bool) -> bytes:
    """What stands behind the data of an entry whose header could not tell it yet."""
    return struct.pack("<4sL2Q" if large else "<4s3L", DESCRIPTOR_MARK, crc, stored, size)


def central_header(
    name: bytes, flags: int, method: int, when: tuple[int, int], crc: int, stored: int, size: int, extra: bytes,
    mode: int, offset: int,
) -> bytes:  # fmt: skip
    """An entry of the central directory; ``mode`` is st_mode."""
    wide = [value for value in (size, stored, offset) if value >= LARGE]
    if wide:
        extra = struct.pack(f"<2H{len(wide)}Q", _ZIP64, 8 * len(wide), *wide) + extra
    size, stored, offset = (FULL32 if value >= LARGE else value for value in (size, stored, offset))
    directory = 0x10 if name.endswith(b"/") else 0  # DOS's
    need = 45 if wide else 20
    return (
        CENTRAL.pack(
            CENTRAL_MARK, UNIX << 8 | need, need, flags, method, *when, crc, stored, size, len(name), len(extra), 0, 0,
            0, mode << 16 | directory, offset,
        )
        + name
        + extra
    )  # fmt: skip


def end_of_directory(count: int, size: int, offset: int) -> bytes:
    """What ends the file: of so many entries, and so many bytes of directory from ``offset`` on."""
    before = b""
    if count >= FULL16 or size >= LARGE or offset >= LARGE:
        before = END64.pack(END64_MARK, 44, UNIX << 8 | 45, 45, 0, 0, count, count, size, offset)
        before += LOCATOR.pack(LOCATOR_MARK, 0, offset + size, 1)
        count = min(count, FULL16)
        size, offset = (FULL32 if value >= LARGE else value for value in (size, offset))
    return before + END.pack(END_MARK, 0, 0, count, count, size, offset, 0)


def extra_fields(mtime: int, uid: int, gid: int) -> bytes:
    """The time of a Unix file in seconds of UTC, and its owner."""
    fields = b""
    if -(1 << 31) <= mtime < 1 << 31:
        fields += struct.pack("<2HBl", _TIMES, 5, 1, mtime)
    elif 0 <= (stamp := (mtime + _EPOCH_1601) * 10**7) < 1 << 64:
        # The other field ends in 2038.
        fields += struct.pack("<2HL2H3Q", _NTFS, 32, 0, 1, 24, stamp, stamp, stamp)
    if 0 <= uid <= FULL32 and 0 <= gid <= FULL32:
        fields += struct.pack("<2H2BLBL", _OWNER, 11, 1, 4, uid, 4, gid)
    return fields


# --- reading ---


def seconds(entry: Entry) -> tuple[int, bool]:
    """The entry's time in nanoseconds, and whether it is of UTC: DOS's is of a zone nobody told."""
    unix = entry.extra.get(_TIMES, b"")
    if len(unix) >= 5 and unix[0] & 1:
        return int.from_bytes(unix[1:5], "little", signed=True) * 10**9, True
    ntfs = entry.extra.get(_NTFS, b"")
    if len(ntfs) >= 16 and ntfs[4:8] == b"\x01\x00\x18\x00":
        return (int.from_bytes(ntfs[8:16], "little") - _EPOCH_1601 * 10**7) * 100, True
    return from_dos(entry.date, entry.clock) * 10**9, False


def owner(entry: Entry) -> tuple[int, int]:
    """Its user and group, -1 where it does not tell."""
    data = entry.extra.get(_OWNER, b"")
    if len(data) == 11 and data[:2] == b"\x01\x04" and data[6] == 4:
        uid, gid = int.from_bytes(data[2:6], "little"), int.from_bytes(data[7:], "little")
        if uid < FULL32 and gid < FULL32:  # that is chown's word for "as it is"
            return uid, gid
    return -1, -1


def unicode_name(entry: Entry) -> bytes | None:
    """The name in UTF-8 beside one in a code page, as Info-ZIP writes it, if it belongs to that one."""
    data = entry.extra.get(_UNICODE_NAME, b"")
    if len(data) > 5 and data[0] == 1 and int.from_bytes(data[1:5], "little") == crc32(entry.name):
        return data[5:]
    return None


def crc32(data: bytes, value: int = 0) -> int:
    """As zlib's, whose time isal's takes an eighth of."""
    return _crc32()(data, value)


@cache
def _crc32() -> Callable[[bytes, int], int]:
    try:
        from isal.isal_zlib import crc32 as found  # noqa: PLC0415 - 22 ms, on the first zip
    except ImportError:
        from zlib import crc32 as found  # noqa: PLC0415
    return found


def dos_time(mtime: int) -> tuple[int, int]:
    """Time and date as DOS has them: two seconds exactly, of no zone (UTC here), from 1980 to 2107."""
    at = time.gmtime(min(max(mtime, 315_532_800), 4_354_819_198))
    return at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2, at.tm_year - 1980 << 9 | at.tm_mon << 5 | at.tm_mday


def from_dos(date: int, clock: int) -> int:
    year, month, day = (date >> 9) + 1980, max(1, min(12, date >> 5 & 15)), max(1, date & 31)
    # The days of the Gregorian calendar before that, its year beginning with March.
    year, month = (year - 1, month + 9) if month < 3 else (year, month - 3)
    days = year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719_469
    return days * 86_400 + (clock >> 11) * 3600 + (clock >> 5 & 63) * 60 + (clock & 31) * 2


def extra_of(data: bytes, name: bytes) -> dict[int, bytes]:
    """The extra fields of a record; the first of a kind counts. Less than a field's head at the end is padding."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("<2H", data, at)
        at += 4
        if at + size > len(data):
            raise damaged(f"an extra field of the entry {shown(name)} is longer than all of them")
        found.setdefault(kind, data[at : at + size])
        at += size
    return found


def widened(extra: dict[int, bytes], name: bytes, values: list[int]) -> list[int]:
    """Each value that is full stands in the zip64 field instead, in this order."""
    field = extra.get(_ZIP64, b"")
    at = 0
    for index, value in enumerate(values):
        if value == FULL32:
            if at + 8 > len(field):
                raise damaged(f"the entry {shown(name)} lacks the zip64 field that it refers to")
            values[index] = int.from_bytes(field[at : at + 8], "little")
            at += 8
    return values


def damaged(what: str) -> CorruptData:
    return CorruptData(f"the zip is damaged: {what}", remedy=REMEDY)
