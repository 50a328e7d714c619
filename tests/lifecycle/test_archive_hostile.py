"""Archives that mean harm: nothing is written outside, nothing is left behind, and the message names the
entry.
"""

import copy
import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from lifecycle.archive import headers
from lifecycle.archive import limits as limits_module
from lifecycle.archive.extract import Limits, unpack
from lifecycle.archive.staging import remove
from lifecycle.errors import CorruptData, LifecycleError, Permanent, UnsafeArchive, Unsupported
from tests.lifecycle.archives import END, KINDS, head, one, pax, snapshot, tarred, zipped, zstd


@pytest.fixture
def place(tmp_path):
    """A destination with a canary beside it and one above it."""
    home = tmp_path / "volume/inputs"
    home.mkdir(parents=True)
    for canary in (tmp_path / "canary", tmp_path / "volume/canary", home / "canary"):
        canary.write_text("alive")
    (tmp_path / "outside").mkdir()
    return home / "out"


# Where a link at the top of the hidden directory really reaches the directory outside.
OUTSIDE = b"../../../../outside"

REFUSED = {
    "dots": (one(b"ok") + one(b"../canary"), "../canary"),
    "dots inside": (one(b"a/b/../../../canary"), "a/b/../../../canary"),
    "directory of dots": (one(b"../x/", b"5"), "../x/"),
    "absolute dots": (one(b"/../../canary"), "/../../canary"),
    "write through a link": (one(b"l", b"2", link=OUTSIDE) + one(b"l/evil", content=b"x"), "l/evil"),
    "write through a relative link": (
        one(b"d/", b"5") + one(b"d/l", b"2", link=b"../..") + one(b"d/l/canary"), "d/l/canary",
    ),
    "write through a chain": (
        one(b"a/", b"5") + one(b"a/b", b"2", link=b".") + one(b"a/c", b"2", link=b"b/..") + one(b"a/c/../evil"),
        "a/c/../evil",
    ),
    "a chain that is inside by its text": (
        one(b"d/e/", b"5") + one(b"x", b"2", link=b"d/e") + one(b"y", b"2", link=b"x/../../..") + one(b"y/evil"),
        "y/evil",
    ),
    "directory over a link": (one(b"l", b"2", link=OUTSIDE) + one(b"l/", b"5", mode=0o777) + one(b"l/evil"), "l/"),
    "directory becomes a link": (
        one(b"d/", b"5") + one(b"d/f") + one(b"d", b"2", link=OUTSIDE) + one(b"d/evil"), "d",
    ),
    "empty directory becomes a link": (one(b"d/", b"5") + one(b"d", b"2", link=OUTSIDE), "d"),
    "directory becomes a file": (one(b"d/", b"5") + one(b"d"), "d"),
    "file becomes a directory": (one(b"d") + one(b"d/", b"5"), "d/"),
    "file used as a directory": (one(b"d") + one(b"d/f"), "d/f"),
    "character device": (one(b"dev", b"3"), "dev"),
    "block device": (one(b"dev", b"4"), "dev"),
    "fifo": (one(b"ok") + one(b"pipe", b"6"), "pipe"),
    "a file without a name": (one(b"ok") + one(b"."), "'.'"),
    "the artifact itself a link": (one(b"l", b"2", link=b"/etc"), "l"),
    "dots by a long name": (one(b"x/" * 60 + b"../" * 70 + b"canary"), "../canary"),
    "a setuid fifo": (one(b"pipe", b"6", mode=0o4777), "pipe"),
    "dots at the end": (one(b"d/", b"5") + one(b"d/..", b"5"), "d/.."),
    "a link's name twice": (one(b"l", b"2", link=OUTSIDE) + one(b"l", b"5", mode=0o777), "l"),
    "links in a circle": (one(b"a", b"2", link=b"b") + one(b"b", b"2", link=b"a") + one(b"a/x"), "a/x"),
    "deep dots": (one(b"d/" * 1000 + b"../" * 1001 + b"canary"), "canary"),
    "a name longer than there can be": (one(b"ok") + one(b"n" * 300), "n" * 300),
}  # fmt: skip

# A zip knows no hard links, and a tar has other ways to lie about a name.
REFUSED_TARS = {
    "hard link outside": (head(b"h", b"1", link=b"../canary") + head(b"h", content=b"x"), "h"),
    "absolute hard link": (head(b"h", b"1", link=b"/etc/passwd"), "h"),
    "hard link to nothing": (head(b"ok") + head(b"h", b"1", link=b"nothing"), "h"),
    "hard link to a directory": (head(b"d/", b"5") + head(b"h", b"1", link=b"d"), "h"),
    "hard link through a link": (head(b"l", b"2", link=OUTSIDE + b"/..") + head(b"h", b"1", link=b"l/canary"), "h"),
    "NUL in a name": (pax(path=b"a\0b") + head(b"x"), "a\\x00b"),
    "dots by a PAX header": (pax(path=b"../canary") + head(b"x"), "../canary"),
}  # fmt: skip
REFUSED_ZIPS = {
    "NUL in a name": (one(b"a\0b"), "a\\x00b"),
    "backslashes of Windows": (one(b"..\\canary", host=0), "../canary"),
    "backslashes behind a drive": (one(b"C:\\..\\..\\canary", host=0), "C:/../../canary"),
    "dots by a name in Unicode": (
        one(b"x", extra=b"up" + b"\x0f\0\x01" + zlib.crc32(b"x").to_bytes(4, "little") + b"../canary\0"), "../canary",
    ),
    "a socket": (one(b"s", mode=stat.S_IFSOCK | 0o777), "s"),
    "a file without any name": (one(b""), "''"),
}  # fmt: skip


def refused(place, tmp_path, packed, declared, name):
    before = snapshot(tmp_path)
    with pytest.raises((UnsafeArchive, Permanent)) as caught:
        unpack(io.BytesIO(packed), place, declared, Limits())
    assert isinstance(caught.value, UnsafeArchive) or len(name) == 300, caught.value
    assert name in caught.value.message
    assert caught.value.remedy or len(name) == 300
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_the_name_of_its_entry_and_nothing_is_written(place, tmp_path, case, kind):
    entries, name = REFUSED[case]
    pack, declared = KINDS[kind]
    refused(place, tmp_path, pack(copy.deepcopy(entries)), declared, name)


@pytest.mark.parametrize("case", REFUSED_TARS)
def test_a_tar_is_refused_by_the_name_of_its_entry(place, tmp_path, case):
    data, name = REFUSED_TARS[case]
    for packed in (data + END, gzip.compress(data + END)):
        refused(place, tmp_path, packed, "tar", name)


@pytest.mark.parametrize("case", REFUSED_ZIPS)
def test_a_zip_is_refused_by_the_name_of_its_entry(place, tmp_path, case):
    entries, name = REFUSED_ZIPS[case]
    refused(place, tmp_path, zipped(entries), "zip", name)


HARMLESS = {
    "absolute names": (one(b"/etc/", b"5") + one(b"/etc2/passwd", content=b"x"), ["etc", "etc2", "etc2/passwd"]),
    "line feed": (one(b"a\nb") + one(b"c"), ["a\nb", "c"]),
    "links outside": (one(b"a", b"2", link=b"/etc/passwd") + one(b"b", b"2", link=b"../../canary"), ["a", "b"]),
    "a file twice": (one(b"a", content=b"1") + one(b"a", content=b"2") + one(b"b"), ["a", "b"]),
    "a link becomes a file": (one(b"a", b"2", link=b"../canary") + one(b"a", content=b"2") + one(b"b"), ["a", "b"]),
    "a directory twice": (one(b"d/", b"5") + one(b"d/x") + one(b"d/", b"5") + one(b"b"), ["b", "d", "d/x"]),
    "names that differ in case": (one(b"A", content=b"1") + one(b"a", content=b"2"), ["A", "a"]),
    "an archive in it": (one(b"a", content=b"2") + one(b"x.zip", content=zipped(one(b"../y"))), ["a", "x.zip"]),
    "set-user-ID": (one(b"a", content=b"2", mode=0o7777) + one(b"b"), ["a", "b"]),
    "a long name": (one(b"n" * 255) + one(b"b"), ["b", "n" * 255]),
    "nesting": (one(b"d/" * 40 + b"f") + one(b"b"), ["b", *("/".join("d" * n) for n in range(1, 41)), "d/" * 40 + "f"]),
}  # fmt: skip
HARMLESS_TARS = {
    "hard link to a link": (head(b"a", b"2", link=b"/etc/passwd") + head(b"h", b"1", link=b"a"), ["a", "h"]),
    "hard link to itself": (head(b"a", content=b"2") + head(b"a", b"1", link=b"./a") + head(b"b"), ["a", "b"]),
    "a volume label": (head(b"label", b"V") + head(b"a", content=b"2") + head(b"b"), ["a", "b"]),
}  # fmt: skip


def harmless(place, tmp_path, packed, declared, names):
    before = snapshot(tmp_path)
    unpack(io.BytesIO(packed), place, declared, Limits())
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*")) == names
    assert {key: value for key, value in snapshot(tmp_path).items() if not key.startswith(str(place))} == before
    if (place / "a").is_file() and not (place / "a").is_symlink():
        assert (place / "a").read_bytes() == b"2"
    assert not any(path.lstat().st_mode & 0o7000 for path in place.rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", HARMLESS)
def test_what_only_looks_hostile_is_unpacked_inside(place, tmp_path, case, kind):
    entries, names = HARMLESS[case]
    pack, declared = KINDS[kind]
    harmless(place, tmp_path, pack(copy.deepcopy(entries)), declared, names)


@pytest.mark.parametrize("case", HARMLESS_TARS)
def test_what_only_looks_hostile_in_a_tar_is_unpacked_inside(place, tmp_path, case):
    data, names = HARMLESS_TARS[case]
    harmless(place, tmp_path, data + END, None, names)
    if case == "hard link to a link":
        assert os.readlink(place / "h") == "/etc/passwd"


@pytest.mark.parametrize(
    ("link", "refused"),
    [
        (b"/etc/passwd", True), (b"../..", True), (b"../x", True), (b"e/../../..", True), (b"back/../f", True),
        (b"missing/../..", True), (b"f", False), (b"e/../f", False), (b"./e", False), (b"missing", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["one", "many"])
@pytest.mark.parametrize("kind", ["tar", "tar+zstd", "zip"])
def test_links_outside_are_refused_on_demand(place, link, refused, form, kind):
    entries = one(b"d/", b"5") + one(b"d/e/", b"5") + one(b"d/f") + one(b"d/e/back", b"2", link=b"..")
    entries += one(b"d/back", b"2", link=b"e") + one(b"d/l", b"2", link=link)
    if form == "many":
        entries += one(b"other")
        refused = refused and link != b"../x"  # that is beside d, and inside
    pack, declared = KINDS[kind]
    data = pack(entries)
    if not refused:
        unpack(io.BytesIO(data), place, declared, Limits(links="refuse"))
        return
    with pytest.raises(UnsafeArchive, match="'d/l'") as caught:
        unpack(io.BytesIO(data), place, declared, Limits(links="refuse"))
    assert "ARGOEXEC_EXTRACT_OUTSIDE_LINKS" in caught.value.remedy
    assert not place.exists()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("tar", "stored zip")])
def test_a_bomb_is_noticed_by_its_ratio_and_named(place, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(limits_module, "_RATIO_FROM", 1 << 20)
    pack, declared = KINDS[kind]
    data = pack(one(b"bomb", content=bytes(20 << 20)))
    before = snapshot(tmp_path)
    with pytest.raises(UnsafeArchive, match=r"bomb.*'bomb'") as caught:
        unpack(io.BytesIO(data), place, declared, Limits())
    assert "ARGOEXEC_EXTRACT_MAX_RATIO" in caught.value.remedy
    assert snapshot(tmp_path) == before
    unpack(io.BytesIO(data), place, declared, Limits(ratio=1_000_000))


def test_a_bomb_behind_the_end_of_the_archive_is_noticed_too(place, monkeypatch):
    monkeypatch.setattr(limits_module, "_RATIO_FROM", 1 << 20)
    with pytest.raises(UnsafeArchive, match="bomb"):
        unpack(io.BytesIO(gzip.compress(head(b"a") + END + bytes(20 << 20))), place, None, Limits())


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_entries_and_too_many_bytes_are_refused(place, tmp_path, kind):
    pack, declared = KINDS[kind]
    data = pack(one(b"a/b/c", content=b"12345") + one(b"d", content=b"6"))
    before = snapshot(tmp_path)
    for limits, variable in ((Limits(members=3), "MEMBERS"), (Limits(size=5), "BYTES")):
        with pytest.raises(UnsafeArchive, match="'d'") as caught:
            unpack(io.BytesIO(data), place, declared, limits)
        assert f"ARGOEXEC_EXTRACT_MAX_{variable}" in caught.value.remedy
    with pytest.raises(UnsafeArchive, match="more than 5 bytes"):
        unpack(io.BytesIO(b"123456"), place, None, Limits(size=5))
    assert snapshot(tmp_path) == before
    assert unpack(io.BytesIO(data), place, declared, Limits(members=4, size=6)).members == 4


COMPRESSED = ["tar+gzip", "tar+bzip2", "tar+xz", "tar+zstd"]


def compressed(kind):
    entries = one(b"d/", b"5") + one(b"d/f", content=b"some words " * 20) + one(b"d/l", b"2", link=b"f")
    if kind == "tar+zstd":
        return zstd.compress(tarred(entries), options={zstd.CompressionParameter.checksum_flag: 1})
    return KINDS[kind][0](entries)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_tar_that_was_cut_anywhere_is_corrupt(place, tmp_path, kind):
    data = compressed(kind)
    before = snapshot(tmp_path)
    for cut in range(len(data)):
        with pytest.raises(CorruptData):
            unpack(io.BytesIO(data[:cut]), place, "tar", Limits())
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_byte_of_damage_in_a_compressed_tar_is_refused_or_changes_nothing(place, tmp_path, kind):
    data = bytearray(compressed(kind))
    before = snapshot(tmp_path)
    for at in range(len(data)):
        data[at] ^= (0x01, 0x80, 0xFF)[at % 3]
        try:
            unpack(io.BytesIO(bytes(data)), place, "tar", Limits())
        except LifecycleError:
            assert snapshot(tmp_path) == before
        else:
            assert (place / "f").read_bytes() == b"some words " * 20
            assert os.readlink(place / "l") == "f"
            remove(place)
        data[at] ^= (0x01, 0x80, 0xFF)[at % 3]


def raw(kind, size_field, name=b"x"):
    block = bytearray(headers.build(name, kind, 0o644, 0, 0, 0, 0))
    block[124:136] = size_field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HUGE, NEGATIVE = b"\x80" + bytes(3) + b"\x7f" * 8, b"\xff" * 12
LIES = {
    "a huge file": raw(b"0", HUGE) + b"x" * 600,
    "a negative size": raw(b"0", NEGATIVE) + END,
    "no number": raw(b"0", b"0000zz\0\0\0\0\0\0") + END,
    "a huge extended header": raw(b"x", HUGE) + END,
    "a negative extended header": raw(b"L", NEGATIVE) + END,
    "a huge PAX size": pax(size=b"9" * 18) + head(b"a") + END,
    "a negative PAX size": pax(size=b"-5") + head(b"a") + END,
    "a PAX size of a million digits": pax(size=b"9" * 1_000_000) + head(b"a") + END,
    "a PAX record that is too long": head(b"p", b"x", b"999 path=x\n") + head(b"a") + END,
    "a PAX record of digits": head(b"p", b"x", b"1" * 1_000_000) + head(b"a") + END,
    "no time": pax(mtime=b"nan") + head(b"a") + END,
    "a sparse map behind the end": (
        pax(GNU__sparse__size=b"10", GNU__sparse__map=b"20,5") + head(b"a", content=b"12345") + END
    ),
    "a sparse map that overlaps": (
        pax(GNU__sparse__size=b"100", GNU__sparse__map=b"5,3,6,2") + head(b"a", content=b"12345") + END
    ),
    "a sparse map that is cut": (
        pax(GNU__sparse__major=b"1", GNU__sparse__realsize=b"100") + head(b"a", content=b"99999\n") + END
    ),
    "a sparse map without lines": (
        pax(GNU__sparse__major=b"1", GNU__sparse__realsize=b"100") + head(b"a", content=b"1" * 9000) + END
    ),
    "an empty link target": head(b"a", b"2") + END,
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_a_lie_in_a_header_neither_hangs_nor_fills_the_memory(place, tmp_path, case):
    before = snapshot(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(LifecycleError) as caught:
            unpack(io.BytesIO(LIES[case]), place, "tar", Limits())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not caught.value.transient
    assert isinstance(caught.value, CorruptData) or case in ("a huge file", "a huge PAX size")
    assert peak < 8 << 20
    assert snapshot(tmp_path) == before


def test_headers_that_describe_headers_without_end_do_not_recurse(place):
    data = pax(path=b"a") * 5000 + head(b"L" * 150) * 2
    unpack(io.BytesIO(data + END), place, "tar", Limits())
    assert (place.is_file(), len(place.name)) == (True, 3)


def test_a_sparse_file_of_crumbs_is_refused_before_its_map_fills_the_memory(place, monkeypatch):
    monkeypatch.setattr(headers, "_MAX_SEGMENTS", 10)
    numbers = b",".join(b"%d,1" % (2 * n) for n in range(11))
    lines = b"11\n" + numbers.replace(b",", b"\n") + b"\n"
    old = {"GNU__sparse__major": b"1", "GNU__sparse__realsize": b"100"}
    data = pax(**old) + head(b"a", content=lines.ljust(512, b"\0") + b"x" * 11)
    with pytest.raises(Unsupported, match="sparse"):
        unpack(io.BytesIO(data + END), place, "tar", Limits())


def test_a_part_of_several_volumes_is_refused_by_name(place):
    with pytest.raises(Unsupported, match="'part'"):
        unpack(io.BytesIO(head(b"ok") + head(b"part", b"M") + END), place, "tar", Limits())


@pytest.mark.slow
def test_a_tree_deeper_than_any_path_can_name_is_unpacked_and_removed(place, tmp_path):
    before = snapshot(tmp_path)
    data = head(b"d/" * 3000 + b"f") + head(b"../x")
    with pytest.raises(UnsafeArchive):
        unpack(io.BytesIO(data + END), place, "tar", Limits())
    assert snapshot(tmp_path) == before
    assert len(os.listdir(place.parent)) == 1


def test_the_corpus_is_what_it_says():
    """The archives above are made by hand; an independent reader finds the same names in them."""
    for entries, _ in HARMLESS.values():
        with tarfile.open(fileobj=io.BytesIO(tarred(entries))) as archive:
            names = archive.getnames()
        with zipfile.ZipFile(io.BytesIO(zipped(entries))) as archive:
            assert archive.testzip() is None
            assert [name.strip("/") for name in archive.namelist()] == [name.strip("/") for name in names]
