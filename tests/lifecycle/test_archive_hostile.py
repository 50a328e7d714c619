"""Archives that mean harm: nothing is written outside, nothing is left behind, and the message names the
entry.
"""

import gzip
import io
import os
import stat
import tarfile
import time

import pytest

from lifecycle.archive import headers
from lifecycle.archive import limits as limits_module
from lifecycle.archive.extract import Limits, unpack
from lifecycle.errors import CorruptData, LifecycleError, UnsafeArchive, Unsupported

END = bytes(1024)


def head(name, kind=b"0", content=b"", link=b"", mode=0o755):
    data = content if kind in b"0Sx" else b""
    return headers.build(name, kind, mode, 0, 0, len(data), 0, link) + data + bytes(headers.padding(len(data)))


def pax(**records):
    body = b""
    for key, value in records.items():
        record = b" " + key.replace("__", ".").encode() + b"=" + value + b"\n"
        length = len(record) + 1
        while len(str(length)) + len(record) != length:
            length += 1
        body += str(length).encode() + record
    return head(b"pax", b"x", body)


@pytest.fixture
def place(tmp_path):
    """A destination with a canary beside it and one above it."""
    home = tmp_path / "volume/inputs"
    home.mkdir(parents=True)
    for canary in (tmp_path / "canary", tmp_path / "volume/canary", home / "canary"):
        canary.write_text("alive")
    (tmp_path / "outside").mkdir()
    return home / "out"


def snapshot(directory):
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mode, path.read_bytes() if stat.S_ISREG(status.st_mode) else None)
    return found


# Where a link at the top of the hidden directory really reaches the directory outside.
OUTSIDE = b"../../../../outside"

REFUSED = {
    "dots": (head(b"ok") + head(b"../canary"), "../canary"),
    "dots inside": (head(b"a/b/../../../canary"), "a/b/../../../canary"),
    "directory of dots": (head(b"../x/", b"5"), "../x/"),
    "absolute dots": (head(b"/../../canary"), "/../../canary"),
    "write through a link": (head(b"l", b"2", link=OUTSIDE) + head(b"l/evil", content=b"x"), "l/evil"),
    "write through a relative link": (
        head(b"d/", b"5") + head(b"d/l", b"2", link=b"../..") + head(b"d/l/canary"), "d/l/canary",
    ),
    "write through a chain": (
        head(b"a/", b"5") + head(b"a/b", b"2", link=b".") + head(b"a/c", b"2", link=b"b/..") + head(b"a/c/../evil"),
        "a/c/../evil",
    ),
    "a chain that is inside by its text": (
        head(b"d/e/", b"5") + head(b"x", b"2", link=b"d/e") + head(b"y", b"2", link=b"x/../../..") + head(b"y/evil"),
        "y/evil",
    ),
    "directory over a link": (head(b"l", b"2", link=OUTSIDE) + head(b"l/", b"5", mode=0o777) + head(b"l/evil"), "l/"),
    "directory becomes a link": (
        head(b"d/", b"5") + head(b"d/f") + head(b"d", b"2", link=OUTSIDE) + head(b"d/evil"), "d",
    ),
    "empty directory becomes a link": (head(b"d/", b"5") + head(b"d", b"2", link=OUTSIDE), "d"),
    "directory becomes a file": (head(b"d/", b"5") + head(b"d"), "d"),
    "file becomes a directory": (head(b"d") + head(b"d/", b"5"), "d/"),
    "file used as a directory": (head(b"d") + head(b"d/f"), "d/f"),
    "hard link outside": (head(b"h", b"1", link=b"../canary") + head(b"h", content=b"x"), "h"),
    "absolute hard link": (head(b"h", b"1", link=b"/etc/passwd"), "h"),
    "hard link to nothing": (head(b"ok") + head(b"h", b"1", link=b"nothing"), "h"),
    "hard link to a directory": (head(b"d/", b"5") + head(b"h", b"1", link=b"d"), "h"),
    "hard link through a link": (head(b"l", b"2", link=OUTSIDE + b"/..") + head(b"h", b"1", link=b"l/canary"), "h"),
    "character device": (head(b"dev", b"3"), "dev"),
    "block device": (head(b"dev", b"4"), "dev"),
    "fifo": (head(b"ok") + head(b"pipe", b"6"), "pipe"),
    "NUL in a name": (pax(path=b"a\0b") + head(b"x"), "a\\x00b"),
    "a file without a name": (head(b"ok") + head(b"./"), "./"),
    "the artifact itself a link": (head(b"l", b"2", link=b"/etc"), "l"),
    "dots by a PAX header": (pax(path=b"../canary") + head(b"x"), "../canary"),
    "dots by a long name": (head(b"x/" * 60 + b"../" * 70 + b"canary"), "../canary"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_the_name_of_its_entry_and_nothing_is_written(place, tmp_path, case):
    data, name = REFUSED[case]
    before = snapshot(tmp_path)
    assert (tmp_path / "outside").is_dir()
    for packed in (data + END, gzip.compress(data + END)):
        with pytest.raises(UnsafeArchive) as caught:
            unpack(io.BytesIO(packed), place, "tar", Limits())
        assert name in caught.value.message
        assert caught.value.remedy
        assert snapshot(tmp_path) == before


HARMLESS = {
    "absolute names": (head(b"/etc/") + head(b"/etc2/passwd", content=b"x"), ["etc", "etc2", "etc2/passwd"]),
    "line feed": (head(b"a\nb") + head(b"c"), ["a\nb", "c"]),
    "links outside": (head(b"a", b"2", link=b"/etc/passwd") + head(b"b", b"2", link=b"../../canary"), ["a", "b"]),
    "a file twice": (head(b"a", content=b"1") + head(b"a", content=b"2") + head(b"b"), ["a", "b"]),
    "a link becomes a file": (head(b"a", b"2", link=b"../canary") + head(b"a", content=b"2") + head(b"b"), ["a", "b"]),
    "a directory twice": (head(b"d/", b"5") + head(b"d/x") + head(b"d/", b"5") + head(b"b"), ["b", "d", "d/x"]),
    "hard link to a link": (head(b"a", b"2", link=b"/etc/passwd") + head(b"h", b"1", link=b"a"), ["a", "h"]),
    "hard link to itself": (head(b"a", content=b"2") + head(b"a", b"1", link=b"./a") + head(b"b"), ["a", "b"]),
    "a volume label": (head(b"label", b"V") + head(b"a") + head(b"b"), ["a", "b"]),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMLESS)
def test_what_only_looks_hostile_is_unpacked_inside(place, tmp_path, case):
    data, names = HARMLESS[case]
    data = data.replace(headers.build(b"/etc/", b"0", 0o755, 0, 0, 0, 0), head(b"/etc/", b"5"))
    before = snapshot(tmp_path)
    unpack(io.BytesIO(data + END), place, None, Limits())
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*")) == names
    assert {key: value for key, value in snapshot(tmp_path).items() if not key.startswith(str(place))} == before
    if (place / "a").is_file() and not (place / "a").is_symlink() and case != "a volume label":
        assert (place / "a").read_bytes() == b"2"
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
def test_links_outside_are_refused_on_demand(place, link, refused, form):
    data = head(b"d/", b"5") + head(b"d/e/", b"5") + head(b"d/f") + head(b"d/e/back", b"2", link=b"..")
    data += head(b"d/back", b"2", link=b"e") + head(b"d/l", b"2", link=link)
    if form == "many":
        data += head(b"other")
        refused = refused and link != b"../x"  # that is beside d, and inside
    if not refused:
        unpack(io.BytesIO(data + END), place, None, Limits(links="refuse"))
        return
    with pytest.raises(UnsafeArchive, match="'d/l'") as caught:
        unpack(io.BytesIO(data + END), place, None, Limits(links="refuse"))
    assert "ARGOEXEC_EXTRACT_OUTSIDE_LINKS" in caught.value.remedy
    assert not place.exists()


def test_a_bomb_is_noticed_by_its_ratio(place, tmp_path, monkeypatch):
    monkeypatch.setattr(limits_module, "_RATIO_FROM", 1 << 20)
    data = gzip.compress(head(b"bomb", content=bytes(20 << 20)) + END)
    before = snapshot(tmp_path)
    with pytest.raises(UnsafeArchive, match="bomb") as caught:
        unpack(io.BytesIO(data), place, None, Limits())
    assert "ARGOEXEC_EXTRACT_MAX_RATIO" in caught.value.remedy
    assert snapshot(tmp_path) == before
    unpack(io.BytesIO(data), place, None, Limits(ratio=2000))


def test_a_bomb_behind_the_end_of_the_archive_is_noticed_too(place, monkeypatch):
    monkeypatch.setattr(limits_module, "_RATIO_FROM", 1 << 20)
    with pytest.raises(UnsafeArchive, match="bomb"):
        unpack(io.BytesIO(gzip.compress(head(b"a") + END + bytes(20 << 20))), place, None, Limits())


def test_too_many_entries_and_too_many_bytes_are_refused(place, tmp_path):
    data = head(b"a/b/c", content=b"12345") + head(b"d", content=b"6") + END
    before = snapshot(tmp_path)
    for limits, variable in ((Limits(members=3), "MEMBERS"), (Limits(size=5), "BYTES")):
        with pytest.raises(UnsafeArchive, match="'d'") as caught:
            unpack(io.BytesIO(data), place, None, limits)
        assert f"ARGOEXEC_EXTRACT_MAX_{variable}" in caught.value.remedy
    with pytest.raises(UnsafeArchive, match="more than 5 bytes"):
        unpack(io.BytesIO(b"123456"), place, None, Limits(size=5))
    assert snapshot(tmp_path) == before
    assert unpack(io.BytesIO(data), place, None, Limits(members=4, size=6)).members == 4


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
    began = time.monotonic()
    with pytest.raises(LifecycleError) as caught:
        unpack(io.BytesIO(LIES[case]), place, "tar", Limits())
    assert not caught.value.transient
    assert isinstance(caught.value, CorruptData) or case in ("a huge file", "a huge PAX size")
    assert time.monotonic() - began < 5
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


def test_a_tree_deeper_than_any_path_can_name_is_unpacked_and_removed(place, tmp_path):
    before = snapshot(tmp_path)
    data = head(b"d/" * 3000 + b"f") + head(b"../x")
    with pytest.raises(UnsafeArchive):
        unpack(io.BytesIO(data + END), place, "tar", Limits())
    assert snapshot(tmp_path) == before
    assert len(os.listdir(place.parent)) == 1


def test_the_corpus_is_what_it_says():
    """The archives above are made by hand; an independent reader finds the same names in them."""
    for data, _ in HARMLESS.values():
        with tarfile.open(fileobj=io.BytesIO(data + END)) as archive:
            assert archive.getnames()
