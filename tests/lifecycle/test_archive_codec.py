"""Compression both ways, and what bytes are."""

import bz2
import gzip
import io
import lzma
import random
import sys
import tarfile

import pytest

from lifecycle.archive.codec import Detected, compress, decompressed, detect
from lifecycle.archive.extract import Limits, unpack
from lifecycle.archive.stream import ChunkReader, Head
from lifecycle.errors import BadRequest, CorruptData, Unsupported
from tests.lifecycle.archives import zstd

CONTENT = random.Random(1).randbytes(150_000) + b"some words " * 50_000
PACK = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress}
CHECKED = {zstd.CompressionParameter.checksum_flag: 1}


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    """With isal, and on a machine without."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    return request.param


def inflate(data, kind="gzip", size=10_000):
    stream = decompressed(io.BytesIO(data), kind)
    return b"".join(iter(lambda: stream.read(size), b""))


@pytest.mark.parametrize("level", [None, *range(-2, 10)])
def test_every_level_of_argo_gives_gzip_that_anybody_reads(library, level):
    data = b"".join(compress(iter([CONTENT[:7], b"", CONTENT[7:]]), level))
    assert gzip.decompress(data) == CONTENT
    assert inflate(data) == CONTENT
    assert (len(data) > len(CONTENT)) == (level == 0)
    assert data[4:8] == bytes(4), "a time in the header would make equal content differ"
    assert data == b"".join(compress(iter([CONTENT[:7], b"", CONTENT[7:]]), level))


@pytest.mark.parametrize("level", [-3, 10])
def test_another_level_is_refused_before_anything_is_read(level):
    with pytest.raises(BadRequest, match=str(level)):
        compress(iter([]), level)


def test_nothing_is_compressed_to_an_empty_member(library):
    assert inflate(b"".join(compress(iter([]), None))) == b""


@pytest.mark.parametrize("kind", PACK)
def test_members_in_a_row_and_padding_are_one_content(library, kind):
    data = PACK[kind](CONTENT) + PACK[kind](b"") + PACK[kind](b"end") + bytes(512)
    assert inflate(data, kind) == CONTENT + b"end"
    assert inflate(data, kind, 1 << 20) == CONTENT + b"end"


@pytest.mark.parametrize("kind", PACK)
def test_cut_or_damaged_data_is_told_as_such(library, kind):
    data = zstd.compress(CONTENT, options=CHECKED) if kind == "zstd" else PACK[kind](CONTENT)
    broken = bytearray(data)
    broken[len(data) // 2] ^= 0xFF
    cases = [data[:-1], data[: len(data) // 2], data[:3], b"", data + b"garbage", bytes(broken)]
    for case in cases:
        with pytest.raises(CorruptData, match=kind):
            inflate(case, kind)


def test_an_xz_that_asks_for_gigabytes_of_memory_is_refused():
    data = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}])
    with pytest.raises(CorruptData, match="xz"):
        inflate(data, "xz")


def test_a_bomb_is_inflated_a_piece_at_a_time(library):
    data = gzip.compress(bytes(50 << 20))
    stream = decompressed(io.BytesIO(data), "gzip")
    assert 0 < len(stream.read(1 << 30)) <= 1 << 20


def a_frame(window_log):
    """A zstd frame of one byte whose header asks for such a window."""
    return bytes.fromhex("28b52ffd") + bytes([0, window_log - 10 << 3]) + b"\x09\0\0x"


def test_a_zstd_that_asks_for_more_memory_than_its_own_program_grants_is_refused():
    assert inflate(a_frame(27), "zstd") == b"x"
    with pytest.raises(CorruptData, match="zstd"):
        inflate(a_frame(28), "zstd")


def test_a_python_without_zstd_says_what_to_do(monkeypatch):
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unsupported, match="zstd") as caught:
        inflate(a_frame(20), "zstd")
    assert "backports.zstd" in caught.value.remedy


def skippable(size, number=0):
    return bytes([0x50 + number]) + b"\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)


def test_zstd_frames_to_be_skipped_are_skipped():
    frame = zstd.compress(b"content")
    for data in (skippable(4) + frame + skippable(9, 15), skippable(0, 15) + skippable(2_000_000) + frame):
        assert inflate(data, "zstd") == b"content"
        assert detect(Head(io.BytesIO(data))).compression == "zstd"
    tar = zstd.compress(a_tar())
    assert detect(Head(io.BytesIO(skippable(12) + tar))) == Detected("zstd", "tar"), "as pzstd writes it"
    assert detect(Head(io.BytesIO(skippable(5_000_000) + tar))) == Detected("zstd", "tar")
    assert detect(Head(io.BytesIO(skippable(9_000_000) + tar))) == Detected("zstd", None)


def test_a_declared_tar_is_found_behind_any_metadata(tmp_path):
    data = skippable(9_000_000) + zstd.compress(a_tar())
    assert unpack(io.BytesIO(data), tmp_path / "out", "tar", Limits()).size == 3
    assert "holds no tar" in unpack(io.BytesIO(data), tmp_path / "kept", None, Limits()).note
    named = gzip.compress(a_tar())[:10]
    named = named[:3] + b"\x08" + named[4:] + b"n" * 9_000_000 + b"\0" + gzip.compress(a_tar())[10:]
    assert unpack(io.BytesIO(named), tmp_path / "named", "tar", Limits()).size == 3


def test_another_compression_is_refused_by_name():
    with pytest.raises(Unsupported, match="rar"):
        decompressed(io.BytesIO(), "rar")


def a_tar(form=tarfile.GNU_FORMAT, size=3):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        info = tarfile.TarInfo("some/näme")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    return out.getvalue()


def v7():
    block = bytearray(a_tar()[:512])
    block[257:] = bytes(255)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def signed():
    """As some old tars summed up the bytes of a name that is not ASCII."""
    block = bytearray(a_tar()[:512])
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block)
    return bytes(block)


FORMS = {
    "gnu": a_tar(), "ustar": a_tar(tarfile.USTAR_FORMAT), "pax": a_tar(tarfile.PAX_FORMAT), "v7": v7(),
    "signed checksum": signed(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [None, *PACK])
def test_a_tar_is_known_by_the_checksum_of_its_first_header(form, kind):
    data = PACK[kind](FORMS[form]) if kind else FORMS[form]
    head = Head(ChunkReader(iter([bytes([one]) for one in data[:600]] + [data[600:]])))
    assert detect(head) == Detected(kind, "tar")
    assert head.read() == data, "nothing is consumed"


def test_a_tar_is_found_behind_an_empty_member_and_in_a_large_block():
    assert detect(Head(io.BytesIO(gzip.compress(b"") + gzip.compress(a_tar())))) == Detected("gzip", "tar")
    noise = a_tar()[:512] + random.Random(2).randbytes(1 << 20)
    assert detect(Head(io.BytesIO(bz2.compress(noise)))) == Detected("bzip2", "tar")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", Detected(None, None)),
        (b"text", Detected(None, None)),
        (b"x" * 2000, Detected(None, None)),
        (a_tar()[:511], Detected(None, None)),
        (gzip.compress(b"log line\n" * 1000), Detected("gzip", None)),
        (gzip.compress(CONTENT)[:40], Detected("gzip", None)),
        (b"\x1f\x8b\x08 not gzip at all", Detected("gzip", None)),
        (b"PK\x03\x04....", Detected(None, "zip")),
        (bytes(10240), Detected(None, None, empty=True)),
        (gzip.compress(bytes(10240)), Detected("gzip", None, empty=True)),
        (b"name" + bytes(144) + b"0000000\0" + bytes(356), Detected(None, None)),
        (b"name" + bytes(144) + b"garbage!" + bytes(356), Detected(None, None)),
    ],
    # Words, because the header of gzip has the time: the tests would have another name at each run.
    ids=[
        "nothing", "text", "long text", "cut tar", "gzip of text", "cut gzip", "no gzip", "zip", "empty tar",
        "gzip of an empty tar", "sum of zeros", "garbage for a sum",
    ],
)  # fmt: skip
def test_what_holds_no_tar_is_no_archive(data, found):
    assert detect(Head(io.BytesIO(data))) == found
