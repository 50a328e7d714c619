"""Archives made by hand, entry by entry, so that they can lie: tars of every compression, and zips."""

import bz2
import gzip
import lzma
import stat
import struct
import zlib
from dataclasses import dataclass, field

from lifecycle.archive import headers

try:
    from compression import zstd
except ImportError:
    from backports import zstd

END = bytes(1024)
TYPES = {
    b"0": stat.S_IFREG, b"2": stat.S_IFLNK, b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}  # fmt: skip


@dataclass
class One:
    """An entry of either kind of archive; ``local`` and ``central`` are fields of a zip's records that lie."""

    name: bytes
    kind: bytes = b"0"
    content: bytes = b""
    link: bytes = b""
    mode: int = 0o755
    method: int = 8
    flags: int = 0
    host: int = 3
    extra: bytes = b""
    described: bytes | None = None
    stored: bytes | None = None
    local: dict = field(default_factory=dict)
    central: dict = field(default_factory=dict)


def one(name, kind=b"0", content=b"", link=b"", **more):
    """In a list, so that archives are sums of entries."""
    return [One(name, kind, content, link, **more)]


def head(name, kind=b"0", content=b"", link=b"", mode=0o755):
    """A tar's entry."""
    data = content if kind in b"0Sx" else b""
    return headers.build(name, kind, mode, 0, 0, len(data), 0, link) + data + bytes(headers.padding(len(data)))


def pax(**records):
    """A PAX header with these records; ``__`` is a dot."""
    body = b""
    for key, value in records.items():
        record = b" " + key.replace("__", ".").encode() + b"=" + value + b"\n"
        length = len(record) + 1
        while len(str(length)) + len(record) != length:
            length += 1
        body += str(length).encode() + record
    return head(b"pax", b"x", body)


def tarred(entries):
    return b"".join(head(one.name, one.kind, one.content, one.link, one.mode) for one in entries) + END


LOCAL = ("need", "flags", "method", "time", "date", "crc", "stored", "size", "name", "extra")
CENTRAL = (
    "made", "need", "flags", "method", "time", "date", "crc", "stored", "size", "name", "extra", "comment", "disk",
    "inner", "attributes", "offset",
)  # fmt: skip
LAST = ("disk", "first", "here", "count", "size", "offset", "comment")


def deflated(data):
    engine = zlib.compressobj(9, wbits=-15)
    return engine.compress(data) + engine.flush()


def zipped(entries, *, before=b"", between=b"", comment=b"", behind=b"", last=None, order=None):
    """``before`` moves no offset; ``between`` stands before the directory; ``last`` are lies of the end record."""
    data, found = bytearray(), []
    for entry in entries:
        content = entry.link if entry.kind == b"2" else entry.content
        stored = entry.stored
        if stored is None:
            stored = deflated(content) if entry.method == 8 else content
        told = {
            "need": 20, "flags": entry.flags, "method": entry.method, "time": 0, "date": 33,
            "crc": zlib.crc32(content), "stored": len(stored), "size": len(content), "name": len(entry.name),
            "extra": len(entry.extra), "made": entry.host << 8 | 20, "comment": 0, "disk": 0, "inner": 0,
            "attributes": (TYPES.get(entry.kind, 0) | entry.mode) << 16, "offset": len(data),
        }  # fmt: skip
        here = told | entry.local
        name = here.pop("raw", entry.name)
        extra = here.pop("raw_extra", entry.extra)
        here |= {"name": len(name), "extra": here["extra"] if "extra" in entry.local else len(extra)}
        data += struct.pack("<4s5H3L2H", b"PK\3\4", *(here[key] for key in LOCAL)) + name + extra + stored
        data += entry.described or b""
        there = told | entry.central
        found.append(struct.pack("<4s6H3L5H2L", b"PK\1\2", *(there[key] for key in CENTRAL)) + entry.name + entry.extra)
    data += between
    directory = b"".join(found if order is None else [found[number] for number in order])
    end = {
        "disk": 0, "first": 0, "here": len(found), "count": len(found), "size": len(directory), "offset": len(data),
        "comment": len(comment),
    } | (last or {})  # fmt: skip
    tail = struct.pack("<4s4H2LH", b"PK\5\6", *(end[key] for key in LAST))
    return before + bytes(data) + directory + tail + comment + behind


def stored_zip(entries):
    for entry in entries:
        entry.method = 0
    return zipped(entries)


# Every kind of archive that is unpacked: how it is made of entries, and how it is declared.
KINDS = {
    "tar": (tarred, "tar"),
    "tar+gzip": (lambda entries: gzip.compress(tarred(entries)), "tar"),
    "tar+bzip2": (lambda entries: bz2.compress(tarred(entries)), "tar"),
    "tar+xz": (lambda entries: lzma.compress(tarred(entries)), "tar"),
    "tar+zstd": (lambda entries: zstd.compress(tarred(entries)), "tar"),
    "zip": (zipped, "zip"),
    "stored zip": (stored_zip, "zip"),
}


def snapshot(directory):
    """Everything below: modes, times of files and contents."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[str(path)] = (status.st_mode, status.st_mtime_ns if content is not None else 0, content)
    return found
