"""The headers of tar entries, both ways: what :mod:`tar` writes and :mod:`extract` reads.

Why not tarfile's: its reader takes 23 µs for a header where 7 do, and believes what it reads. It allocates
what a PAX header claims to hold, recurses once for each header that describes the next, takes a damaged
header for the end of the archive, loops for ever on a cut sparse map, and searches PAX headers in quadratic
time (CVE-2024-6232, in every 3.11 before 3.11.10). Written are GNU headers, as they carry any byte in a name;
read are v7, ustar, GNU and PAX.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

from lifecycle.errors import CorruptData, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

BLOCK = 512
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)

_CHUNK = 256 * 1024
_ZEROS = bytes(BLOCK)

# No system can open a longer name; extended attributes are the rest of what honest headers hold.
_MAX_EXTENDED = 1 << 20

# A map longer than this describes a file of crumbs, or is there to fill the memory.
_MAX_SEGMENTS = 1 << 18

# The records that say something about an entry; the others are not kept.
_RECORDS = frozenset({
    "path", "linkpath", "size", "uid", "gid", "mtime", "GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.size",
    "GNU.sparse.major", "GNU.sparse.map",
})  # fmt: skip

_REGULAR_TYPES = (b"0", b"\0", b"7")
_CUT = "the archive ends too early: it was cut"
_CUT_REMEDY = "store the artifact again; the upload or the download was interrupted"

Segments = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Member:
    """One entry. ``stored`` bytes of data follow in the archive; ``size`` is the file's, larger if it has
    holes.
    """

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    link: str
    stored: int
    size: int
    segments: Segments | None = None


def build(
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:  # fmt: skip
    """The GNU header of an entry, with those for a long name or link target before it."""
    extended = b""
    if len(link) > 100:
        extended += _long(b"K", link)
    if len(name) > 100:
        extended += _long(b"L", name)
    before = b"".join((
        name[:100].ljust(100, b"\0"), _number(mode, 8), _number(uid, 8), _number(gid, 8),
        _number(size, 12), _number(mtime, 12),
    ))  # fmt: skip
    after = b"".join((
        kind, link[:100].ljust(100, b"\0"), b"ustar  \0", bytes(64), _number(device[0], 8), _number(device[1], 8),
        bytes(167),
    ))  # fmt: skip
    # The checksum counts its own field as eight spaces.
    checksum = b"%06o\0 " % (sum(before) + sum(after) + 8 * 0x20)
    return extended + before + checksum + after


def _long(kind: bytes, text: bytes) -> bytes:
    data = text + b"\0"
    return build(b"././@LongLink", kind, 0o644, 0, 0, len(data), 0) + data + bytes(padding(len(data)))


def _number(value: int, width: int) -> bytes:
    """Octal; what does not fit is two's complement with the first bit set, as GNU tar does it."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    if value >= 0:
        return b"\x80" + value.to_bytes(width - 1, "big")
    return b"\xff" + value.to_bytes(width - 1, "big", signed=True)


def padding(size: int) -> int:
    """The zeros that fill the last block."""
    return -size % BLOCK


class Source:
    """A stream that is read forward in exact pieces; that it ends before one is whole means that it was cut."""

    def __init__(self, stream: BinaryIO) -> None:
        """Nothing is read yet."""
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self.position = 0

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, held in memory: for headers, and for files that are small.

        Raises:
            CorruptData: there are fewer.
        """
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        self.position += len(data)
        if len(data) < size:
            data = b"".join((data, *self.pieces(size - len(data))))
        return data

    def pieces(self, size: int) -> Iterator[bytes]:
        """``size`` bytes in pieces.

        Raises:
            CorruptData: there are fewer.
        """
        while size > 0:
            if self._at == len(self._buffer) and not self._fill():
                raise CorruptData(_CUT, remedy=_CUT_REMEDY)
            piece = self._buffer[self._at : self._at + size]
            self._at += len(piece)
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._buffer) and not self._fill()

    def skip_to(self, position: int) -> None:
        """Read and forget."""
        for _ in self.pieces(position - self.position):
            pass

    def drain(self) -> None:
        """Read to the end: only there a compressed stream is proven whole."""
        while self._fill():
            pass

    def _fill(self) -> bool:
        self._buffer = self._stream.read(_CHUNK)
        self._at = 0
        return bool(self._buffer)


def members(source: Source) -> Iterator[Member]:
    """The entries, in order. Whoever takes one may read its ``stored`` bytes from ``source`` before the next.

    Ends behind the end-of-archive block; what follows there is not looked at.

    Raises:
        CorruptData: a checksum or a number is wrong, or the archive was cut; also when it was cut between two
            entries, which GNU tar does not notice.
        Unsupported: a part of a multi-volume archive.
    """
    general: dict[str, bytes] = {}
    local: dict[str, bytes] = {}
    sparse: list[int] = []
    while True:
        block = _header_block(source)
        if block is None:
            return
        kind = block[156:157]
        if kind in b"LKxXg":
            data = _extended(source, block)
            if kind == b"L":
                local["path"] = data.split(b"\0", 1)[0]
            elif kind == b"K":
                local["linkpath"] = data.split(b"\0", 1)[0]
            else:
                _read_pax(data, general if kind == b"g" else local, sparse)
            continue
        member = _member(block, {**general, **local} if general else local)
        _read_sparse(source, block, member, local, sparse)
        end = source.position + member.stored
        if kind != b"V":  # a label of the volume
            yield member
        source.skip_to(end + padding(end))
        local, sparse = {}, []


def _header_block(source: Source) -> bytes | None:
    """The next block, its checksum verified; ``None`` at the end of the archive."""
    if source.at_end():
        raise CorruptData(f"{_CUT} (there is no end-of-archive mark)", remedy=_CUT_REMEDY)
    at = source.position
    block = source.read(BLOCK)
    if block == _ZEROS:
        return None
    if not _checksum_holds(block):
        raise CorruptData(
            f"the archive is damaged: the header at byte {at} has a wrong checksum",
            remedy="store the artifact again; if it is no tar, declare `archive: {none: {}}`",
        )
    return block


def is_header(block: bytes) -> bool:
    """Whether these 512 bytes are the first of a tar with an entry; a checksum is all that v7 has to tell it."""
    try:
        return len(block) == BLOCK and block != _ZEROS and _checksum_holds(block)
    except CorruptData:
        return False


def _checksum_holds(block: bytes) -> bool:
    field = block[148:156]
    told = _parse(field)
    if told == sum(block) - sum(field) + 8 * 0x20:
        return True
    # Some old tars added the bytes up as signed ones.
    return told == sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 8 * 0x20


def _extended(source: Source, block: bytes) -> bytes:
    size = _parse(block[124:136])
    if not 0 <= size <= _MAX_EXTENDED:
        raise CorruptData(f"the archive is damaged: an extended header claims to hold {size} bytes")
    data = source.read(size)
    source.skip_to(source.position + padding(size))
    return data


def _parse(field: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        return value - (1 << 8 * len(field) - 1) if field[0] & 0x40 else value
    text = field.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise CorruptData(f"the archive is damaged: {field!r} is not a number of a header") from None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _member(block: bytes, pax: dict[str, bytes]) -> Member:
    kind = block[156:157]
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    raw = pax.get("path", name)
    link = pax.get("linkpath", block[157:257].split(b"\0", 1)[0])
    size = _decimal(pax, "size", block[124:136])
    if kind in _REGULAR_TYPES:
        # v7 has no directories, only names with a slash at the end.
        kind = DIRECTORY if raw.endswith(b"/") and kind == b"\0" else REGULAR
    elif kind not in b"SD":
        size = 0  # by POSIX these have no data, whatever their size says
    if kind not in b"0123456SDV":
        raise Unsupported(f"the entry {_text(raw)!r} is of type {kind!r}, which cannot be unpacked")
    mtime = pax.get("mtime")
    return Member(
        name=_text(pax.get("GNU.sparse.name", raw)),
        kind=DIRECTORY if kind == b"D" else kind,
        mode=_parse(block[100:108]) & 0o777,
        uid=_decimal(pax, "uid", block[108:116]),
        gid=_decimal(pax, "gid", block[116:124]),
        mtime_ns=_parse(block[136:148]) * 10**9 if mtime is None else _nanoseconds(mtime),
        link=_text(link),
        stored=size,
        size=size,
    )


def _decimal(pax: dict[str, bytes], key: str, field: bytes) -> int:
    value = _integer(pax[key]) if key in pax else _parse(field)
    if value < 0:
        raise CorruptData(f"the archive is damaged: {key} is {value}")
    return value


def _integer(text: bytes) -> int:
    # isdigit first: int() also takes spaces and underscores, and the length keeps it from quadratic work.
    if len(text) > 20 or not text.isdigit():
        raise CorruptData(f"the archive is damaged: {text[:40]!r} is not a number")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    sign = -1 if text.startswith(b"-") else 1
    whole, _, part = text.removeprefix(b"-").partition(b".")
    return sign * (_integer(whole or b"0") * 10**9 + _integer(part[:9].ljust(9, b"0")))


def _read_pax(data: bytes, into: dict[str, bytes], sparse: list[int]) -> None:
    """Records of ``length key=value`` and a line feed, the length counting itself."""
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        length = _integer(data[at:space]) if space > 0 else 0
        end = at + length
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if length < 5 or end > len(data) or data[end - 1 : end] != b"\n" or not equals:
            raise CorruptData("the archive is damaged: an extended header cannot be read")
        name = _text(key)
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            sparse.append(_integer(value))  # format 0.0 repeats these two, in turn
            _bounded(sparse)
        elif not value:
            into.pop(name, None)
        elif name in _RECORDS:
            into[name] = value
        at = end


def _read_sparse(source: Source, block: bytes, member: Member, pax: dict[str, bytes], numbers: list[int]) -> None:
    """Find out where the stored bytes of a file with holes belong: the old GNU way, and the three PAX ways."""
    size = pax.get("GNU.sparse.realsize", pax.get("GNU.sparse.size"))
    if member.kind == b"S":
        member.kind = REGULAR
        member.size = _parse(block[483:495])
        numbers = _old_map(source, block)
    elif size is None:
        return
    else:
        member.size = _integer(size)
        if pax.get("GNU.sparse.major") == b"1":
            before = source.position
            numbers = _map_in_data(source, member.stored)
            member.stored -= source.position - before
        elif "GNU.sparse.map" in pax:
            numbers = [_integer(one) for one in pax["GNU.sparse.map"].split(b",") if one]
    segments = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    ends = [(0, 0), *segments, (member.size, 0)]
    ordered = all(a + length <= b for (a, length), (b, _) in pairwise(ends))
    if len(numbers) % 2 or not ordered or sum(length for _, length in segments) != member.stored:
        raise CorruptData(f"the archive is damaged: the map of the sparse file {member.name!r} cannot be right")
    member.segments = segments


def _bounded(numbers: Sized) -> None:
    if len(numbers) > 2 * _MAX_SEGMENTS:
        raise Unsupported(f"a sparse file of more than {_MAX_SEGMENTS} pieces cannot be unpacked")


def _old_map(source: Source, block: bytes) -> list[int]:
    numbers: list[int] = []
    at, count, more = 386, 4, 482
    while True:
        for start in range(at, at + 24 * count, 24):
            if block[start : start + 24].strip(b"\0"):
                numbers += _parse(block[start : start + 12]), _parse(block[start + 12 : start + 24])
        _bounded(numbers)
        if not block[more]:
            return numbers
        block = source.read(BLOCK)
        at, count, more = 0, 21, 504


def _map_in_data(source: Source, stored: int) -> list[int]:
    """Format 1.0: decimal lines in front of the data, to the end of a block."""
    lines: list[bytes] = []
    text = b""
    wanted = 1
    while len(lines) < wanted:
        if stored < BLOCK:
            raise CorruptData("the archive is damaged: the map of a sparse file is longer than its data")
        stored -= BLOCK
        *whole, text = (text + source.read(BLOCK)).split(b"\n")
        if len(text) > BLOCK:
            raise CorruptData("the archive is damaged: the map of a sparse file cannot be read")
        lines += whole
        _bounded(lines)
        wanted = 1 + 2 * _integer(lines[0]) if lines else 1
    return [_integer(line) for line in lines[1:wanted]]
