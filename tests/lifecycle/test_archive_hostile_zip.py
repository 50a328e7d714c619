"""Zips that lie: what the directory, the entries and the data say of each other must agree."""

import io
import os
import shutil
import struct
import zipfile
import zlib

import pytest

from lifecycle.archive import limits as limits_module
from lifecycle.archive import records
from lifecycle.archive.extract import Limits, unpack
from lifecycle.errors import CorruptData, LifecycleError, UnsafeArchive, Unsupported
from tests.lifecycle.archives import deflated, one, snapshot, zipped

WORDS = b"some words " * 100
ZERO64 = struct.pack("<2H2Q", 1, 16, 0, 0)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "canary").write_text("alive")
    return tmp_path / "volume/out"


def refused(data, place, kind=CorruptData, limits=None):
    before = snapshot(place.parent.parent)
    with pytest.raises(LifecycleError) as caught:
        unpack(io.BytesIO(data), place, "zip", limits or Limits())
    assert type(caught.value) is kind, caught.value
    assert caught.value.remedy
    assert snapshot(place.parent.parent) == before
    return caught.value.message


def quoted(count):
    """David Fifield's bomb: every local header is quoted by a stored block of the data before it."""
    kernel = deflated(bytes(1 << 20))
    crc, size = zlib.crc32(bytes(1 << 20)), 1 << 20
    data = records.local_header(b"0", 0, 8, (0, 33), crc, len(kernel), size, b"") + kernel
    found = [(b"0", crc, len(kernel), size, len(data))]
    content = bytes(1 << 20)
    for number in range(1, count):
        header = data[: 30 + len(found[-1][0])]
        quote = b"\x00" + struct.pack("<2H", len(header), 0xFFFF ^ len(header)) + header
        content = header + content
        stored = len(quote) + found[-1][2]
        crc = zlib.crc32(content)
        name = b"%d" % number
        front = records.local_header(name, 0, 8, (0, 33), crc, stored, len(content), b"") + quote[:5]
        data = front + data
        found.append((name, crc, stored, len(content), len(data)))
    whole = len(data)
    directory = b"".join(
        records.central_header(name, 0, 8, (0, 33), crc, stored, size, b"", 0o100644, whole - at)
        for name, crc, stored, size, at in reversed(found)
    )
    return data + directory + records.end_of_directory(count, len(directory), whole)


def test_entries_that_share_their_data_are_refused_by_name(place):
    bomb = quoted(50)
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        assert len(archive.namelist()) == 50
        assert len(archive.read("1")) > 1 << 20, "it is one that others unpack"
    assert "'49' overlaps" in refused(bomb, place, UnsafeArchive)
    twice = zipped(one(b"a", content=WORDS) + one(b"a", content=WORDS, central={"offset": 0}))
    assert "overlap" in refused(twice, place, UnsafeArchive)
    inside = one(b"out", content=zipped(one(b"in", content=WORDS)), method=0)
    begin = 30 + 3
    hidden = zipped(inside + one(b"in", content=WORDS, central={"offset": begin}))
    assert "'out' overlaps" in refused(hidden, place, UnsafeArchive)
    # An extra field that covers the next header.
    extra = one(b"a", content=b"x", method=0, local={"raw_extra": struct.pack("<2H", 7, 160) + bytes(60), "extra": 164})
    assert "overlaps" in refused(zipped(extra + one(b"b")), place, UnsafeArchive)
    over = zipped(one(b"a", content=WORDS, method=0, local={"stored": 5000}, central={"stored": 5000}))
    assert "'a' overlaps" in refused(over, place, UnsafeArchive)


def test_a_bomb_is_refused_while_it_is_inflated(place, monkeypatch):
    monkeypatch.setattr(limits_module, "_RATIO_FROM", 1 << 20)
    entries = [entry for n in range(50) for entry in one(b"%d" % n, content=bytes(1 << 20))]
    assert "is a bomb" in refused(zipped(entries), place, UnsafeArchive)


LYING = {
    "less than there is": one(b"liar", content=WORDS, local={"size": 10}, central={"size": 10}),
    "more than there is": one(b"liar", content=WORDS, local={"size": 5000}, central={"size": 5000}),
    "a stored one of less": one(b"liar", content=WORDS, method=0, local={"size": 10}, central={"size": 10}),
    "a stored one of more": one(b"liar", content=WORDS, method=0, local={"size": 5000}, central={"size": 5000}),
    "less data": one(b"liar", content=WORDS, local={"stored": 9}, central={"stored": 9}),
    "more data": one(b"liar", content=WORDS, stored=deflated(WORDS) + b"more"),
    "a checksum": one(b"liar", content=WORDS, local={"crc": 1}, central={"crc": 1}),
    "data of another method": one(b"liar", content=WORDS, method=8, stored=WORDS),
    "no data": one(b"liar", content=WORDS, stored=b""),
    "bzip2": one(b"liar", content=WORDS, method=12, stored=WORDS),
    "lzma": one(b"liar", content=WORDS, method=14, stored=WORDS),
    "lzma without properties": one(b"liar", content=WORDS, method=14, stored=b"\x09"),
    "zstd": one(b"liar", content=WORDS, method=93, stored=WORDS),
    "a directory with content": one(b"liar/", b"5", content=WORDS),
    "a directory that is a link": one(b"liar/", b"2", link=b"x"),
    "a link without a target": one(b"liar", b"2"),
    "a link with a NUL": one(b"liar", b"2", link=b"a\0b"),
    "a link that is too long": one(b"liar", b"2", link=b"x" * 5000),
    "another name": one(b"liar", local={"raw": b"evil"}),
    "a longer name": one(b"liar", local={"raw": b"../liar"}),
    "another method": one(b"liar", content=WORDS, local={"method": 0}),
    "encryption in one place": one(b"liar", content=WORDS, local={"flags": 1}),
    "another size": one(b"liar", content=WORDS, local={"size": 5}),
    "another checksum": one(b"liar", content=WORDS, local={"crc": 5}),
    "another size with a descriptor": one(b"liar", content=WORDS, flags=8, local={"size": 5}),
    "no descriptor": one(b"liar", content=WORDS, flags=8, local={"size": 0, "stored": 0, "crc": 0}),
    "a wrong descriptor": one(
        b"liar", content=WORDS, flags=8, local={"size": 0, "stored": 0, "crc": 0}, described=b"PK\7\10" + bytes(12)
    ),
    "no local header": one(b"liar", central={"offset": 80}),
    "an offset behind the directory": one(b"liar", central={"offset": 1 << 20}),
    "zip64 without a field": one(b"liar", content=WORDS, central={"size": 0xFFFFFFFF}),
    "zip64 with too short a field": one(
        b"liar", content=WORDS, extra=struct.pack("<2HL", 1, 4, 5), central={"size": 0xFFFFFFFF}
    ),
    "zip64 of nothing": one(
        b"liar", content=WORDS, extra=ZERO64, local={"size": 0xFFFFFFFF}, central={"size": 0xFFFFFFFF}
    ),
    "zip64 of everything": one(
        b"liar", content=WORDS, extra=struct.pack("<2H2Q", 1, 16, 2**64 - 1, 2**64 - 1),
        central={"size": 0xFFFFFFFF, "offset": 0xFFFFFFFF},
    ),
    "an extra field that is too long": one(b"liar", extra=struct.pack("<2H", 7, 99) + b"x"),
}  # fmt: skip


@pytest.mark.parametrize("case", LYING)
def test_what_contradicts_itself_is_refused_by_name(place, case):
    entries = one(b"before", content=WORDS) + LYING[case] + one(b"behind", content=WORDS)
    assert "liar" in refused(zipped(entries), place)


def test_encrypted_patched_and_divided_zips_are_unsupported_by_name(place):
    for flag in (1, 1 << 6, 1 << 13):
        assert "'x' is encrypted" in refused(zipped(one(b"x", content=b"1", flags=flag)), place, Unsupported)
    assert "'x' is stored as a patch" in refused(zipped(one(b"x", flags=1 << 5)), place, Unsupported)
    assert "'x' is in another volume" in refused(zipped(one(b"x", central={"disk": 2})), place, Unsupported)
    for lie in ({"disk": 1}, {"first": 1}, {"here": 0}):
        assert "one part" in refused(zipped(one(b"x"), last=lie), place, Unsupported)


@pytest.mark.parametrize(
    "lie",
    [
        {"count": 1, "here": 1}, {"count": 3, "here": 3}, {"count": 0, "here": 0},
        {"count": 500, "here": 500}, {"size": 10}, {"size": 100_000},
        {"offset": 100_000}, {"count": 0xFFFF, "here": 0xFFFF}, {"size": 0xFFFFFFFF}, {"offset": 0xFFFFFFFF},
        {"comment": 5}, {"comment": 0xFFFF},
    ],
)  # fmt: skip
def test_an_end_that_lies_is_refused(place, lie):
    refused(zipped(one(b"a") + one(b"a", content=WORDS), last=lie), place)


def test_what_readers_would_understand_differently_is_refused(place):
    good = zipped(one(b"good", content=b"1"))
    evil = zipped(one(b"evil", content=b"2"))
    refused(good + b"garbage", place)
    refused(good + bytes(70_000), place)
    assert "ambiguous" in refused(zipped(one(b"a"), comment=evil), place)
    assert "ambiguous" in refused(zipped(one(b"a"), comment=b"PK\5\6" + bytes(18)), place)
    # One behind the other is the last one with something before it, which is said.
    unpacked = unpack(io.BytesIO(good + evil), place, "zip", Limits())
    assert place.read_bytes() == b"2"
    assert f"{len(good)} bytes before the zip" in unpacked.note


def zip64(**lies):
    entries = zipped(one(b"a", content=b"1"))[:-22]
    at = entries.rindex(b"PK\1\2")
    told = {"length": 44, "disk": 0, "first": 0, "here": 1, "count": 1, "size": len(entries) - at, "offset": at}
    told |= {"at": len(entries), "disks": 1, "narrow": 0xFFFFFFFF} | lies
    end = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", told["length"], 45, 45, told["disk"], told["first"], told["here"], told["count"],
        told["size"], told["offset"],
    )  # fmt: skip
    end += struct.pack("<4sLQL", b"PK\6\7", 0, told["at"], told["disks"])
    narrow = min(told["narrow"], 0xFFFF)
    return entries + end + struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, narrow, narrow, told["narrow"], told["narrow"], 0
    )  # fmt: skip


def test_zip64_is_believed_only_where_it_fits(place):
    unpack(io.BytesIO(zip64()), place, "zip", Limits())
    unpack(io.BytesIO(b"before" + zip64()), place, "zip", Limits())
    assert place.read_bytes() == b"1"
    place.unlink()
    place.parent.rmdir()
    for lies in (
        {"length": 43}, {"length": 2**64 - 1}, {"here": 2}, {"count": 2}, {"count": 2**64 - 1, "here": 2**64 - 1},
        {"size": 2**64 - 1}, {"offset": 2**64 - 1}, {"offset": 0, "size": 2**63}, {"narrow": 7},
    ):  # fmt: skip
        refused(zip64(**lies), place)
    refused(zip64(disks=2), place, Unsupported)


# --- damage ---


def sample():
    """Every kind of record: stored, deflated, described, a link, a directory, zip64."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/", b"")
        archive.writestr("d/f", WORDS)
        with archive.open("d/g", "w", force_zip64=True) as file:
            file.write(b"x")
    mine = zipped(
        one(b"d/", b"5") + one(b"d/l", b"2", link=b"f") + one(b"d/f", content=WORDS)
        + one(b"d/s", content=b"abc", method=0), comment=b"comment",
    )  # fmt: skip
    return [out.getvalue(), mine, zip64()]


CONTENTS = [{WORDS, b"x"}, {WORDS, b"abc", b"f"}, {b"1"}]


def outcome(data, place):
    """The contents of what was unpacked below its place; or why it was refused, and nothing is there."""
    try:
        unpack(io.BytesIO(data), place, "zip", Limits(size=1 << 20, members=50))
    except LifecycleError as error:
        assert not place.parent.exists()
        return type(error)
    assert [path.name for path in place.parent.iterdir()] == ["out"]
    links = {os.fsencode(os.readlink(path)) for path in place.rglob("*") if path.is_symlink()}
    found = links | {path.read_bytes() for path in [place, *place.rglob("*")] if path.is_file()}
    shutil.rmtree(place.parent)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_a_zip_that_was_cut_anywhere_is_corrupt(place, number):
    data = sample()[number]
    assert outcome(data, place) == CONTENTS[number]
    for cut in range(len(data)):
        assert outcome(data[:cut], place) is CorruptData, cut


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_a_byte_of_damage_anywhere_is_refused_or_does_not_touch_the_content(place, number):
    """What is neither told twice nor covered by a checksum are modes, times, versions and comments."""
    data = bytearray(sample()[number])
    for at in range(len(data)):
        bits = (0x01, 0x80, 0xFF)[at % 3]
        data[at] ^= bits
        found = outcome(bytes(data), place)
        data[at] ^= bits
        assert found in (CorruptData, UnsafeArchive, Unsupported) or found <= CONTENTS[number] | {b""}, at
