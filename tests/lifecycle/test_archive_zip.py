"""A source as a zip, and a zip as an artifact: what others write is read, and what we write others read."""

import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest

from lifecycle import transfer
from lifecycle.archive import records
from lifecycle.archive import zip as zip_module
from lifecycle.archive.extract import Limits, unpack
from lifecycle.archive.tar import TarStats
from lifecycle.archive.unzip import Zip
from lifecycle.archive.zip import zip_chunks
from lifecycle.clock import Cancel
from lifecycle.engine import Engine
from lifecycle.errors import CorruptData, NotFound, Terminated, Transient, Unavailable, UnsafeArchive, Unsupported
from lifecycle.location import Location
from lifecycle.mirror import Mirrored
from lifecycle.moved import Moved
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from lifecycle.ports import Container
from lifecycle.source import MirrorSource, RuntimeSource
from lifecycle.table import Verdict
from tests.fakes import World

MAIN = Container("main", "1")
AT_KEY = Location("raw", {}, "k")


class TarRuntime:
    """Hands out a tar as docker does, with PAX headers; and single files."""

    def __init__(self, root):
        self.root = root

    def open_tar(self, container, path):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(self.root / path.lstrip("/"), arcname=Path(path).name)
        out.seek(0)
        return out

    def open_file(self, container, path):
        return (self.root / path.lstrip("/")).open("rb")


@contextmanager
def sourced(kind, root, path):
    if kind == "mirror":
        with MirrorSource(Mirrored(root, path.lstrip("/")), path) as source:
            yield source
    else:
        with RuntimeSource(TarRuntime(root), MAIN, path) as source:
            yield source


class Kept:
    """A store of one object."""

    data = b""
    hint = None

    def save(self, key, stream, size_hint):
        self.data = b"".join(iter(lambda: stream.read(100_000), b""))
        self.hint = size_hint


def zipped(root, path="/d", kind="mirror", moved=None):
    kept = Kept()
    with sourced(kind, root, path) as source:
        transfer.save_zip(kept, AT_KEY, source, moved or Moved())
    assert kept.hint is None if kind == "runtime" else kept.hint >= len(kept.data)
    return kept.data


def put(data, dest, declared="zip", **limits):
    return unpack(io.BytesIO(data), dest, declared, Limits(**limits))


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "src/d"
    (top / "sub/empty").mkdir(parents=True)
    (top / "a").write_bytes(b"a" * 1000)
    (top / "b").write_bytes(b"bb")
    (top / "nothing").write_bytes(b"")
    (top / "sub/big").write_bytes(os.urandom(700_000) + bytes(700_000))
    (top / "link").symlink_to("../where/ever")
    (top / "z").hardlink_to(top / "sub/big")
    (top / "näme 日本").write_bytes(b"utf-8")
    (top / "back\\slash").write_bytes(b"\\")
    with open(os.fsencode(top) + b"/caf\xe9", "wb") as file:
        file.write(b"no utf-8")
    (top / "a").chmod(0o751)
    (top / "sub").chmod(0o700)
    for number, path in enumerate(sorted(top.rglob("*"), key=os.fsencode)):
        os.utime(path, (1_700_000_001 + number, 1_700_000_001 + number), follow_symlinks=False)
    os.utime(top, (5, 5))
    return tmp_path / "src"


def described(top):
    found = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = status.st_mode if not path.is_symlink() else stat.S_IFLNK
        found[os.fsencode(path.relative_to(top))] = (mode, int(status.st_mtime), content)
    return found


@pytest.mark.parametrize("kind", ["mirror", "runtime"])
def test_everything_but_the_identity_of_hard_links_comes_back(tree, tmp_path, kind):
    moved = Moved()
    data = zipped(tree, kind=kind, moved=moved)
    unpacked = put(data, tmp_path / "out")
    assert described(tmp_path / "out") == described(tree / "d")
    assert not (tmp_path / "out/z").samefile(tmp_path / "out/sub/big")
    assert moved.note == "hard links stored as files of their own: 1"
    assert unpacked.note == ""
    assert (unpacked.kind, unpacked.members) == ("directory", 12)


def test_progress_counts_the_content_to_its_end(tree):
    told = []
    moved = Moved(tell=lambda *numbers: told.append(numbers))
    zipped(tree, moved=moved)
    assert told[-1] == (moved.size, moved.total)
    assert moved.size == moved.total == sum(path.lstat().st_size for path in (tree / "d").rglob("*") if path.is_file())
    runtime = Moved()
    zipped(tree, kind="runtime", moved=runtime)
    assert (runtime.size, runtime.total) == (moved.size, None)


@pytest.mark.parametrize("kind", ["mirror", "runtime"])
def test_a_file_becomes_a_file(tree, tmp_path, kind):
    put(zipped(tree, "/d/sub/big", kind), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tree / "d/sub/big").read_bytes()


def test_equal_trees_give_equal_bytes(tree, tmp_path, monkeypatch):
    data = zipped(tree)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert zipped(tree) == data


def test_a_second_of_any_time_survives(tmp_path):
    (tmp_path / "d").mkdir()
    times = [-(10**9), -1, 0, 1, 315_532_799, 1_700_000_001, (1 << 31) - 1, 1 << 31, 9_999_999_999]
    for number, when in enumerate(times):
        (tmp_path / f"d/{number}").touch()
        os.utime(tmp_path / f"d/{number}", (when, when))
    put(zipped(tmp_path), tmp_path / "out")
    assert [int((tmp_path / f"out/{n}").stat().st_mtime // 1) for n in range(len(times))] == times


@pytest.mark.parametrize("kind", ["mirror", "runtime"])
def test_what_is_missing_is_not_found_before_the_store_is_asked(tree, kind):
    class Untouched:
        def save(self, *_):
            raise AssertionError

    with pytest.raises((NotFound, FileNotFoundError)), sourced(kind, tree, "/none") as source:
        transfer.save_zip(Untouched(), AT_KEY, source, Moved())


def test_a_hard_link_that_vanishes_meanwhile_is_no_missing_output(tree, tmp_path):
    class Vanishing(TarRuntime):
        def open_file(self, container, path):
            raise NotFound("gone")

    with RuntimeSource(Vanishing(tree), MAIN, "/d") as source:
        kept = Kept()
        with pytest.raises((Unavailable, NotFound)) as caught:
            transfer.save_zip(kept, AT_KEY, source, Moved())
    # 700 kB of noise stand before the link, so the store was asked already.
    assert isinstance(caught.value, Unavailable)
    with sourced("mirror", tree, "/d") as source:
        (tree / "d/moved").mkdir()
        with pytest.raises(Transient):
            source.reopen("moved")


def test_a_source_that_breaks_stores_nothing_wherever_it_does(tree):
    with sourced("runtime", tree, "/d") as source:
        whole = b"".join(source.tar(TarStats()))

    def broken(at):
        yield whole[:at]
        raise Unavailable("the connection broke")

    for at in (0, 512, len(whole) // 2, len(whole)):
        with pytest.raises(Unavailable):
            for _ in zip_chunks(broken(at), lambda path: io.BytesIO(), TarStats(), lambda _: None):
                pass
    with pytest.raises(CorruptData):
        list(zip_chunks(iter([whole[:2000]]), None, TarStats(), lambda _: None))


def test_fifos_are_left_out_and_told(tree):
    os.mkfifo(tree / "d/pipe")
    moved = Moved()
    names = zipfile.ZipFile(io.BytesIO(zipped(tree, moved=moved))).namelist()
    assert not [name for name in names if name.endswith("pipe")]
    assert moved.note.startswith("not stored: 'pipe': a fifo")


def test_what_a_zip_says_of_an_entry_fits_what_others_read(tree):
    with zipfile.ZipFile(io.BytesIO(zipped(tree))) as archive:
        assert archive.testzip() is None
        found = {info.filename: info for info in archive.infolist()}
    assert list(found)[:3] == ["d/", "d/a", "d/b"]
    assert stat.S_IMODE(found["d/a"].external_attr >> 16) == 0o751
    assert stat.S_ISLNK(found["d/link"].external_attr >> 16)
    assert found["d/sub/empty/"].is_dir()
    assert found["d/näme 日本"].flag_bits & records.UTF8
    assert found["d/a"].compress_type == zipfile.ZIP_DEFLATED
    assert found["d/b"].compress_type == zipfile.ZIP_STORED, "deflating makes it larger"
    assert {info.create_system for info in found.values()} == {3}
    assert found["d/sub/big"].flag_bits & records.DESCRIBED
    assert not found["d/a"].flag_bits & records.DESCRIBED


def test_info_zip_reads_it(tree, tmp_path):
    if shutil.which("unzip") is None:
        pytest.skip("no unzip here")
    (tmp_path / "x.zip").write_bytes(zipped(tree))
    (tmp_path / "there").mkdir()
    for locale in ("C", "C.UTF-8"):
        run = {"capture_output": True, "text": True, "env": {"LC_ALL": locale, "PATH": os.environ["PATH"]}}
        done = subprocess.run(["unzip", "-tq", tmp_path / "x.zip"], check=False, **run)
        assert (done.returncode, done.stdout.splitlines()[-1][:9]) == (0, "No errors"), done
    subprocess.run(["unzip", "-q", tmp_path / "x.zip", "-d", tmp_path / "there"], check=True, **run)
    ours, theirs = described(tree / "d"), described(tmp_path / "there/d")
    assert {name: (mode, content) for name, (mode, _, content) in theirs.items()} == {
        name: (mode, content) for name, (mode, _, content) in ours.items()
    }
    assert theirs[b"a"][1] == ours[b"a"][1]


@pytest.mark.parametrize("options", [[], ["-0"], ["-9"], ["-fd"], ["-fz"], ["-X"], ["-Z", "bzip2"], ["-D"]])
def test_what_info_zip_writes_is_unpacked(tree, tmp_path, options):
    if shutil.which("zip") is None:
        pytest.skip("no zip here")
    env = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    subprocess.run(["zip", "-qry", *options, tmp_path / "x.zip", "d"], cwd=tree, env=env, check=True)
    put((tmp_path / "x.zip").read_bytes(), tmp_path / "out")
    ours, theirs = described(tmp_path / "out"), described(tree / "d")
    if "-D" in options:
        assert set(theirs) - set(ours) == {b"sub/empty"}
        del theirs[b"sub/empty"], theirs[b"sub"], theirs[b"."]
        ours.pop(b"sub"), ours.pop(b".")
    if "-X" in options:
        assert {name: one[::2] for name, one in ours.items()} == {name: one[::2] for name, one in theirs.items()}
        return
    # zip follows no link, and keeps no time of one.
    del ours[b"link"], theirs[b"link"]
    assert ours == theirs


def test_a_zip_that_info_zip_made_as_a_stream_is_unpacked(tmp_path):
    if shutil.which("zip") is None:
        pytest.skip("no zip here")
    content = os.urandom(1000) * 300
    made = subprocess.run(["zip", "-q", "-", "-"], input=content, check=True, capture_output=True).stdout
    assert made
    put(made, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content


METHODS = {
    "stored": zipfile.ZIP_STORED, "deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA,
}  # fmt: skip


class Unseekable(io.RawIOBase):
    """As a socket: zipfile then writes descriptors."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_what_zipfile_writes_is_unpacked(tmp_path, monkeypatch, method, seekable, library):
    if library == "zlib":
        import sys

        monkeypatch.setitem(sys.modules, "isal", None)
    contents = {"e": b"", "one": b"1", "text": b"some words " * 100_000, "noise": os.urandom(600_000)}
    out = io.BytesIO() if seekable else Unseekable()
    with zipfile.ZipFile(out, "w", METHODS[method]) as archive:
        for name, content in contents.items():
            archive.writestr(f"x/{name}", content)
        with archive.open("x/large", "w", force_zip64=True) as file:
            file.write(b"large")
    put(out.getvalue() if seekable else bytes(out.data), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents | {"large": b"large"}


def handmade(name, content, method, stored, flags=0):
    """One entry, compressed by somebody else."""
    crc = zlib.crc32(content)
    local = records.local_header(name, flags, method, (0, 33), crc, len(stored), len(content), b"") + stored
    central = records.central_header(
        name, flags, method, (0, 33), crc, len(stored), len(content), b"", stat.S_IFREG | 0o644, 0
    )
    return local + central + records.end_of_directory(1, len(central), len(local))


def test_zstd_and_lzma_with_an_end_mark_are_read(tmp_path):
    import lzma

    zstd = pytest.importorskip("backports.zstd")
    content = b"some words " * 50_000
    put(handmade(b"f", content, records.ZSTD, zstd.compress(content)), tmp_path / "zstd")
    assert (tmp_path / "zstd").read_bytes() == content
    chosen = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20}
    raw = lzma.compress(content, lzma.FORMAT_RAW, filters=[chosen])
    head = b"\x09\x04\x05\x00" + bytes([93]) + (1 << 20).to_bytes(4, "little")
    put(handmade(b"f", content, records.LZMA, head + raw, records.LZMA_MARKED), tmp_path / "lzma")
    assert (tmp_path / "lzma").read_bytes() == content
    huge = b"\x09\x04\x05\x00" + bytes([93]) + (1 << 30).to_bytes(4, "little")
    with pytest.raises(CorruptData, match=r"lzma|'f'"):
        put(handmade(b"f", content, records.LZMA, huge + raw, records.LZMA_MARKED), tmp_path / "huge")
    long = bytes.fromhex("28b52ffd") + bytes([0x00, 18 << 3]) + bytes([0x0D, 0, 0]) + b"x"  # a window of 2^28
    with pytest.raises(CorruptData, match="'f'"):
        put(handmade(b"f", b"x", records.ZSTD, long), tmp_path / "huge")


@pytest.mark.parametrize(("method", "name"), [(9, "deflate64"), (6, "imploded"), (95, "xz"), (4711, "method 4711")])
def test_a_method_that_is_not_read_is_named(tmp_path, method, name):
    with pytest.raises(Unsupported, match=f"'f' is stored as .*{name}") as caught:
        put(handmade(b"f", b"x", method, b"x"), tmp_path / "out")
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_encrypted_entry_is_refused_by_name(tmp_path):
    if shutil.which("zip") is None:
        pytest.skip("no zip here")
    (tmp_path / "f").write_text("secret")
    subprocess.run(["zip", "-q", "-P", "word", "x.zip", "f"], cwd=tmp_path, check=True)
    with pytest.raises(Unsupported, match="'f' is encrypted"):
        put((tmp_path / "x.zip").read_bytes(), tmp_path / "out")


def named(name, host, flags=0, extra=b""):
    data = bytearray(handmade(name, b"x", records.STORED, b"x", flags))
    at = data.rindex(b"PK\x01\x02")
    data[at + 5] = host
    if extra:
        end = data.rindex(b"PK\x05\x06")
        data[end:end] = extra
        data[at + 30 : at + 32] = struct.pack("<H", len(extra))
        end += len(extra)
        data[end + 12 : end + 16] = struct.pack("<L", end - at)
    return bytes(data)


def other():
    """A second entry, so that names are kept."""
    return named(b"other", 3)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (named("ä/é".encode(), 3), "ä/é".encode()),
        (named("ä/é".encode(), 0), "ä/é".encode()),
        (named(b"d/\x84", 0), "d/ä".encode()),
        (named(b"d/\x84", 3), b"d/\x84"),
        (named(b"d\\f", 0), b"d/f"),
        (named(b"d\\f", 3), b"d\\f"),
        (named(b"d/e\\f", 0), b"d/e\\f"),
        (named(b"?", 0, extra=b"up\x06\x00\x01" + zlib.crc32(b"?").to_bytes(4, "little") + b"!"), b"!"),
        (named(b"?", 0, extra=b"up\x06\x00\x01" + bytes(4) + b"!"), b"?"),
    ],
)
def test_names_are_what_their_writer_meant(tmp_path, data, name):
    members = unpack(io.BytesIO(data), tmp_path / "out", "zip", Limits())
    assert members.kind in ("file", "directory")
    (tmp_path / "x.zip").write_bytes(data)
    fd = os.open(tmp_path / "x.zip", os.O_RDONLY)
    try:
        found = [os.fsencode(member.name) for member, _ in Zip(fd).members(lambda _: None)]
    finally:
        os.close(fd)
    assert found == [name]


def test_what_is_put_before_a_zip_is_left_out(tree, tmp_path):
    data = b"#!/bin/sh\nexit\n" + zipped(tree)
    unpacked = put(data, tmp_path / "out")
    assert "15 bytes before the zip are left out" in unpacked.note
    assert described(tmp_path / "out") == described(tree / "d")
    out = io.BytesIO(b"#!python\n")
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("f", "x")
    put(out.getvalue(), tmp_path / "app")
    assert (tmp_path / "app").read_bytes() == b"x"


def test_a_wish_to_stop_ends_the_unpacking_that_follows_the_download(tree, tmp_path):
    cancel = Cancel()
    store = Kept()
    store.data = zipped(tree)

    class Stream(io.BytesIO):
        """Whose end is when the wish comes."""

        def read(self, size=-1, /):
            data = super().read(size)
            if not data:
                cancel.set(Terminated("stop"))
            return data

    store.open = lambda key: Stream(store.data)
    with pytest.raises(Terminated):
        transfer.load(store, AT_KEY, tmp_path / "p/out", "zip", limits=Limits(), width=1, moved=Moved(cancel=cancel))
    assert not (tmp_path / "p").exists()


def test_an_empty_zip_is_an_empty_directory(tmp_path):
    put(b"PK\x05\x06" + bytes(18), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_comment_is_ignored(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("f", "x")
        archive.comment = b"PK\x05\x06 " + b"c" * 60_000
    put(out.getvalue(), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"x"


def test_an_undeclared_zip_is_kept_unless_it_is_asked_for(tree, tmp_path):
    data = zipped(tree)
    kept = put(data, tmp_path / "kept", None)
    assert (tmp_path / "kept").read_bytes() == data
    assert "ARGOEXEC_UNDECLARED_ZIP=unpack" in kept.note
    put(data, tmp_path / "unpacked", None, zips="unpack")
    assert described(tmp_path / "unpacked") == described(tree / "d")
    put(data, tmp_path / "none", "none", zips="unpack")
    assert (tmp_path / "none").read_bytes() == data
    put(b"no zip", tmp_path / "text", None, zips="unpack")
    assert (tmp_path / "text").read_bytes() == b"no zip"


@pytest.mark.parametrize(
    ("data", "told"), [(b"", "no zip"), (b"text", "no zip"), (zlib.compress(b"x", wbits=31), "gzip")]
)
def test_what_is_declared_as_zip_must_be_one(tmp_path, data, told):
    with pytest.raises(CorruptData, match=told) as caught:
        put(data, tmp_path / "p/out")
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_sizes_beyond_four_gigabytes_are_told_by_zip64(monkeypatch, tmp_path):
    """The records by themselves: 4 GiB of content are the business of a slow test."""
    size = 5 << 30
    header = records.central_header(b"f", 0, 8, (0, 33), 1, size + 1, size, b"", 0o100644, size + 2)
    assert records.widened(records.extra_of(header[47:], b"f"), b"f", [0xFFFFFFFF] * 3) == [size, size + 1, size + 2]
    assert struct.unpack_from("<2L", header, 20) == (0xFFFFFFFF, 0xFFFFFFFF)
    end = records.end_of_directory(70_000, 100, 6 << 30)
    assert end.startswith(b"PK\x06\x06")
    # The same code with the border lowered makes a whole zip that others read.
    monkeypatch.setattr(records, "LARGE", 10)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"content " * 100_000)
    (tmp_path / "d/g").write_bytes(b"content " * 10)
    data = zipped(tmp_path)
    assert data.count(b"PK\x06\x07") == 1
    needed = data.index(b"d/f") - 26
    assert struct.unpack_from("<H", data, needed) == (45,), "its descriptor has wide sizes, and that is announced"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("d/f").file_size == 800_000
    put(data, tmp_path / "out")
    assert (tmp_path / "out/f").read_bytes() == b"content " * 100_000
    if shutil.which("unzip"):
        (tmp_path / "x.zip").write_bytes(data)
        subprocess.run(["unzip", "-tq", tmp_path / "x.zip"], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_file_of_more_than_four_gigabytes_comes_back(tmp_path):
    from lifecycle.archive import headers

    size, block = 5 << 30, b"some words " * 95_325

    def tar():
        yield headers.build(b"d/", b"5", 0o755, 0, 0, 0, 0) + headers.build(b"d/f", b"0", 0o644, 0, 0, size, 0)
        left = size
        while left:
            yield block[:left]
            left -= min(left, len(block))
        yield headers.build(b"d/g", b"0", 0o644, 0, 0, 1, 0) + b"g".ljust(512, b"\0") + bytes(1024)

    with (tmp_path / "x.zip").open("wb") as file:
        for chunk in zip_chunks(tar(), None, TarStats(), lambda _: None):
            file.write(chunk)
    came_out = 0

    def count(number):
        nonlocal came_out
        came_out += number

    fd = os.open(tmp_path / "x.zip", os.O_RDONLY)
    try:
        assert [(member.name, member.size) for member, _ in Zip(fd).members(count)][1:] == [("d/f", size), ("d/g", 1)]
    finally:
        os.close(fd)
    assert came_out == size + 1
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tq", tmp_path / "x.zip"], check=True, stdout=subprocess.DEVNULL)


def test_too_many_entries_are_refused_before_the_first(tree, tmp_path):
    with pytest.raises(UnsafeArchive, match="12 entries, and 11 are allowed") as caught:
        put(zipped(tree), tmp_path / "out", members=11)
    assert "ARGOEXEC_EXTRACT_MAX_MEMBERS" in caught.value.remedy


@pytest.mark.slow
def test_more_entries_than_sixteen_bits_can_count(tmp_path):
    from lifecycle.archive import headers

    def tar():
        yield headers.build(b"d/", b"5", 0o755, 0, 0, 0, 0)
        for number in range(70_000):
            yield headers.build(b"d/%d" % number, b"0", 0o644, 0, 0, 0, 0)
        yield bytes(1024)

    data = b"".join(zip_chunks(tar(), None, TarStats(), lambda _: None))
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 70_001
    (tmp_path / "x.zip").write_bytes(data)
    fd = os.open(tmp_path / "x.zip", os.O_RDONLY)
    try:
        assert sum(1 for _ in Zip(fd).members(lambda _: None)) == 70_001
    finally:
        os.close(fd)


def test_holes_become_zeros(tmp_path):
    if shutil.which("tar") is None:
        pytest.skip("no GNU tar here")
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"x" * 5000)
        file.truncate(4 << 20)
    tar = subprocess.run(["tar", "-S", "-C", tmp_path, "-c", "sparse"], check=True, capture_output=True).stdout
    assert len(tar) < 1 << 20
    data = b"".join(zip_chunks(iter([tar]), None, TarStats(), lambda _: None))
    put(data, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "sparse").read_bytes()


def test_a_path_longer_than_a_zip_can_tell_is_refused(tmp_path):
    from lifecycle.archive import headers

    tar = headers.build(b"x/" * 33_000, b"5", 0o755, 0, 0, 0, 0) + bytes(1024)
    with pytest.raises(Unsupported, match=r"65999 bytes|66000 bytes"):
        b"".join(zip_chunks(iter([tar]), None, TarStats(), lambda _: None))


def test_the_directory_takes_little_memory(monkeypatch):
    directory = zip_module._Directory()
    for number in range(50_000):
        directory.add(records.central_header(b"dir/sub/file-%d" % number, 0, 8, (0, 33), number, 1, 2, b"", 0, number))
    held = sum(map(len, directory._held)) + len(directory._pending)
    assert held < 20 * 50_000
    assert len(b"".join(directory.whole())) > 60 * 50_000


# --- by way of the phases ---

AT = {"endpoint": "e", "bucket": "b"}


def pod(root, store=None, limits=None, **sides):
    raw = {"name": "t", "script": {"image": "i", "source": ""}, "archiveLocation": {"s3": AT}} | sides
    world = World(root, raw, limits=limits)
    if store is not None:
        world.store = store
        world.pod.drivers = store.driver
    return world


def test_an_output_of_main_comes_back_as_the_input_of_another_step(tmp_path):
    packed = {"path": "/tmp/f", "archive": {"zip": {}}}
    saving = pod(tmp_path / "one", outputs={"artifacts": [{"name": "a"} | packed]})
    saving.runtime.files = {"/tmp/f": b"content"}
    assert Engine(WAIT_TABLE, saving.pod).run() is Verdict.SUCCEEDED
    [key] = saving.store.objects
    assert key.endswith("/a.zip") or key == "a.zip"
    assert zipfile.ZipFile(io.BytesIO(saving.store.objects[key])).namelist() == ["f"]

    given = packed | {"name": "a", "s3": AT | {"key": key}, "mode": 0o640}
    loading = pod(tmp_path / "two", saving.store, inputs={"artifacts": [given]})
    assert Engine(INIT_TABLE, loading.pod).run() is Verdict.SUCCEEDED
    found = loading.files.input_artifact("a")
    assert (found.read_bytes(), stat.S_IMODE(found.stat().st_mode)) == (b"content", 0o640)


@pytest.mark.parametrize("recurse", [True, False])
def test_the_mode_of_the_template_is_stronger_than_the_zips(tmp_path, tree, recurse):
    store = pod(tmp_path / "none").store
    store.objects = {"k": zipped(tree)}
    given = {"name": "a", "path": "/a", "archive": {"zip": {}}, "s3": AT | {"key": "k"}}
    given |= {"mode": 0o750, "recurseMode": recurse}
    loading = pod(tmp_path / "pod", store, inputs={"artifacts": [given]})
    assert Engine(INIT_TABLE, loading.pod).run() is Verdict.SUCCEEDED
    top = loading.files.input_artifact("a")
    ours = {path: mode & 0o777 for path, (mode, _, content) in described(top).items() if not stat.S_ISLNK(mode)}
    theirs = {path: mode & 0o777 for path, (mode, *_) in described(tree / "d").items() if not stat.S_ISLNK(mode)}
    assert ours == (dict.fromkeys(theirs, 0o750) if recurse else theirs | {b".": 0o750})


def test_the_limits_of_the_pod_hold_for_its_zips(tmp_path, tree):
    given = {"name": "a", "path": "/a", "archive": {"zip": {}}, "s3": AT | {"key": "k"}}
    loading = pod(tmp_path / "pod", limits=Limits(links="refuse"), inputs={"artifacts": [given]})
    loading.store.objects = {"k": zipped(tree)}
    assert Engine(INIT_TABLE, loading.pod).run() is Verdict.FAILED
    assert "'d/link' is a symbolic link to '../where/ever', outside the artifact" in loading.pod.record.message()
