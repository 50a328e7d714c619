"""What an artifact becomes at its destination: the rename rule, all or nothing, everything restored."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tarfile

import pytest

from lifecycle.archive.codec import compress
from lifecycle.archive.extract import Limits, Unpacked, install_tree, unpack
from lifecycle.archive.tar import tar_chunks
from lifecycle.errors import BadRequest, CorruptData, InputError, NotFound, StorageFull, UnsafeArchive

LIMITS = Limits()


def entry(name, content=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mtime = 1_700_000_000
    if name.endswith("/"):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def archive(*entries, form=tarfile.GNU_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def put(data, dest, declared=None, limits=LIMITS):
    return unpack(io.BytesIO(data), dest, declared, limits)


def everything(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


ONE = archive(entry("d/"), entry("d/a", b"1"))
MANY = archive(entry("a", b"1"), entry("b/c", b"22"))


def test_the_only_file_becomes_the_artifact(tmp_path):
    assert put(archive(entry("f", b"x")), tmp_path / "out") == Unpacked("file", 1, 1)
    assert (tmp_path / "out").read_bytes() == b"x"


def test_the_only_directory_becomes_the_artifact(tmp_path):
    assert put(ONE, tmp_path / "out") == Unpacked("directory", 2, 1)
    assert everything(tmp_path) == ["out", "out/a"]


def test_several_entries_become_a_directory(tmp_path):
    assert put(MANY, tmp_path / "out") == Unpacked("directory", 3, 3)
    assert everything(tmp_path) == ["out", "out/a", "out/b", "out/b/c"]
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "data", [archive(), gzip.compress(archive()), archive(entry("./"))], ids=["tar", "gzip", "tar of itself"]
)
def test_no_entry_becomes_an_empty_directory(tmp_path, data):
    assert put(data, tmp_path / "out", "tar").kind == "directory"
    assert everything(tmp_path) == ["out"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("declared", [None, "tar"])
def test_compression_is_found_out(tmp_path, pack, declared):
    put(pack(ONE), tmp_path / "out", declared)
    assert (tmp_path / "out/a").read_bytes() == b"1"


@pytest.mark.parametrize(
    "data",
    [b"", b"text", gzip.compress(b"a log"), b"PK\x03\x04 zip", bytes(10240)],
    ids=["nothing", "text", "gzip", "zip", "zeros"],
)
def test_what_is_no_tar_is_stored_as_it_is(tmp_path, data):
    assert put(data, tmp_path / "out").kind == "file"
    assert (tmp_path / "out").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o644
    with pytest.raises(CorruptData, match="declared as tar") if data != bytes(10240) else pytest.raises(NotFound):
        put(data, tmp_path / "other", "tar")
        raise NotFound("an empty tar is one for whoever declares it")


def test_archive_none_leaves_a_tar_packed(tmp_path):
    put(ONE, tmp_path / "out", "none")
    assert (tmp_path / "out").read_bytes() == ONE


def test_what_cannot_be_unpacked_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="rar"):
        put(b"", tmp_path / "out", "rar")


def test_modes_times_and_links_are_restored_whatever_the_umask(tmp_path):
    data = archive(
        entry("d/", mode=0o2575), entry("d/ro/", mode=0o555), entry("d/ro/f", b"x", mode=0o4707),
        entry("d/l", type=tarfile.SYMTYPE, linkname="/abs/../where"),
        entry("d/h", type=tarfile.LNKTYPE, linkname="./d/ro/f"), entry("d/implied/deep/f", b""),
    )  # fmt: skip
    mask = os.umask(0o077)
    try:
        put(data, tmp_path / "a/b/out")
    finally:
        os.umask(mask)
    out = tmp_path / "a/b/out"
    modes = {name: stat.S_IMODE((out / name).stat().st_mode) for name in (".", "ro", "ro/f", "implied", "..", "../..")}
    assert modes == {".": 0o575, "ro": 0o555, "ro/f": 0o707, "implied": 0o755, "..": 0o755, "../..": 0o755}
    assert {(out / name).lstat().st_mtime for name in (".", "ro", "ro/f", "l")} == {1_700_000_000}
    assert os.readlink(out / "l") == "/abs/../where"
    assert (out / "h").samefile(out / "ro/f")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_restores_the_numeric_owner(tmp_path):
    put(archive(entry("d/", uid=1234, gid=5), entry("d/f", uid=4321, gid=6)), tmp_path / "out")
    assert (tmp_path / "out").stat().st_uid == 1234
    assert ((tmp_path / "out/f").stat().st_uid, (tmp_path / "out/f").stat().st_gid) == (4321, 6)


def test_an_owner_that_cannot_be_set_is_a_note_not_a_failure(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", refuse)
    assert "owners could not be restored" in put(ONE, tmp_path / "out").note


def test_pax_headers_are_understood(tmp_path):
    long = "é" * 90 + "/" + "x" * 200
    data = archive(
        entry("d/"), entry("d/" + long, b"1", mtime=1_700_000_000.5), entry("d/big", b"", uid=3_000_000),
        form=tarfile.PAX_FORMAT,
    )  # fmt: skip
    put(data, tmp_path / "out")
    assert (tmp_path / "out" / long).stat().st_mtime_ns == 1_700_000_000_500_000_000


@pytest.mark.parametrize("cut", range(0, len(ONE) - 9216 + 512, 512))
def test_an_archive_that_was_cut_is_corrupt_wherever_it_was(tmp_path, cut):
    content = 3 * 512
    if cut > content:
        put(ONE[:cut], tmp_path / "out", "tar")  # half of the end mark is gone, and nothing else
        return
    for declared in ("tar", None) if cut >= 512 else ("tar",):
        with pytest.raises(CorruptData):
            put(ONE[:cut], tmp_path / "x/out", declared)
        assert everything(tmp_path) == []


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    data = bytearray(ONE)
    data[512] ^= 1
    with pytest.raises(CorruptData, match="byte 512 has a wrong checksum"):
        put(bytes(data), tmp_path / "out")
    assert everything(tmp_path) == []


def test_damage_behind_the_last_entry_of_a_compressed_tar_is_found(tmp_path):
    for data in (gzip.compress(ONE)[:-4], gzip.compress(ONE)[:-8] + bytes(8), gzip.compress(ONE) + b"garbage"):
        with pytest.raises(CorruptData, match="gzip"):
            put(data, tmp_path / "out")
        assert everything(tmp_path) == []


def test_garbage_behind_the_end_of_a_tar_is_tolerated(tmp_path):
    assert put(ONE + b"garbage" * 1000, tmp_path / "out").members == 2


def test_a_stream_that_breaks_leaves_nothing(tmp_path):
    class Breaking(io.BytesIO):
        def read(self, size=-1, /):
            data = super().read(min(size, 600))
            if not data:
                raise ConnectionResetError(104, "reset")
            return data

    for declared in ("none", "tar"):
        with pytest.raises(Exception, match="reset") as caught:
            unpack(Breaking(archive(entry("a", b"x" * 10_000))[:4096]), tmp_path / "p/q/out", declared, LIMITS)
        assert caught.value.transient
        assert everything(tmp_path) == []


def test_leftovers_of_a_killed_attempt_are_removed_and_those_of_others_kept(tmp_path):
    for name in (".out.argoexec-0123abcd", ".out.argoexec-x.argoexec-0123abcd", ".other.argoexec-0123abcd"):
        (tmp_path / name / "tree/ro").mkdir(parents=True)
        (tmp_path / name / "tree/ro").chmod(0)
    put(ONE, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [".other.argoexec-0123abcd", ".out.argoexec-x.argoexec-0123abcd", "out"]


def test_a_name_of_the_greatest_length_has_room_for_the_attempt(tmp_path):
    put(ONE, tmp_path / ("n" * 255))
    put(MANY, tmp_path / ("n" * 255))
    assert os.listdir(tmp_path) == ["n" * 255]


def test_a_file_or_link_at_the_destination_is_replaced(tmp_path):
    (tmp_path / "canary").write_text("canary")
    for data in (b"text", ONE):
        for make in (lambda path: path.write_text("old"), lambda path: path.symlink_to("canary")):
            make(tmp_path / "out")
            put(data, tmp_path / "out")
            assert not (tmp_path / "out").is_symlink()
            shutil.rmtree(tmp_path / "out") if data == ONE else (tmp_path / "out").unlink()
    assert (tmp_path / "canary").read_text() == "canary"
    assert everything(tmp_path) == ["canary"]


def test_a_directory_at_the_destination_stays_and_its_children_are_replaced(tmp_path):
    out = tmp_path / "out"
    (out / "a/old").mkdir(parents=True)
    (out / "kept").write_text("kept")
    out.chmod(0o2777)
    inode = out.stat().st_ino
    put(MANY, out)
    assert everything(out) == ["a", "b", "b/c", "kept"]
    assert (out / "a").read_bytes() == b"1"
    assert (out.stat().st_ino, stat.S_IMODE(out.stat().st_mode)) == (inode, 0o2777)
    put(ONE, out)
    assert everything(out) == ["a", "b", "b/c", "kept"]


def test_children_that_were_replaced_come_back_when_a_later_one_fails(tmp_path, monkeypatch):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "b").write_text("old b")
    real = type(out).rename

    def failing(self, target):
        if target == out / "b" and "tree" in str(self):
            raise OSError(16, "Device or resource busy", str(target))
        return real(self, target)

    monkeypatch.setattr(type(out), "rename", failing)
    with pytest.raises(Exception, match="busy"):
        put(MANY, out)
    assert everything(out) == ["a", "b"]
    assert (out / "b").read_text() == "old b"


@pytest.mark.parametrize("data", [b"text", archive(entry("f", b"text"))])
def test_a_file_replaces_an_empty_directory_and_no_other(tmp_path, data):
    (tmp_path / "out").mkdir()
    put(data, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"text"
    (tmp_path / "full/x").mkdir(parents=True)
    with pytest.raises(BadRequest, match="not empty") as caught:
        put(data, tmp_path / "full")
    assert caught.value.remedy
    assert everything(tmp_path) == ["full", "full/x", "out"]


@pytest.fixture
def mount_point(tmp_path):
    point = tmp_path / "mnt"
    point.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "none", point], check=False, capture_output=True).returncode:
        pytest.skip("the kernel does not let us mount")
    yield point
    subprocess.run(["umount", point], check=True)


def test_a_mount_point_is_filled(mount_point):
    for _ in range(2):
        put(ONE, mount_point)
        put(MANY, mount_point)
    assert everything(mount_point) == ["a", "b", "b/c"]
    with pytest.raises(UnsafeArchive):
        put(archive(entry("ok"), entry("../x")), mount_point)
    assert everything(mount_point) == ["a", "b", "b/c"]


def test_a_file_does_not_replace_a_mount_point(mount_point):
    for data in (b"text", archive(entry("f", b"x"))):
        with pytest.raises(BadRequest, match="cannot be removed"):
            put(data, mount_point)
        assert everything(mount_point.parent) == ["mnt"]


def test_a_full_disk_is_told_as_such_and_left_as_it_was(mount_point):
    subprocess.run(["mount", "-o", "remount,size=1m", mount_point], check=True)
    for data, declared in (
        (archive(entry("a"), entry("big", bytes(3 << 20))), "tar"),
        (archive(*(entry(f"f{n}", bytes(200_000)) for n in range(9))), "tar"),
        (bytes(3 << 20), "none"),
    ):
        with pytest.raises(StorageFull) as caught:
            put(data, mount_point / "out", declared)
        assert caught.value.remedy
        assert everything(mount_point) == []


def test_a_tree_that_a_driver_builds_is_installed_whole_or_not_at_all(tmp_path):
    def build(directory):
        (directory / "x").write_text("new")

    def fail(directory):
        build(directory)
        raise NotFound("gone")

    with pytest.raises(NotFound):
        install_tree(fail, tmp_path / "p/out")
    assert everything(tmp_path) == []
    install_tree(build, tmp_path / "p/out")
    assert (tmp_path / "p/out/x").read_text() == "new"
    (tmp_path / "p/out/y").write_text("kept")
    with pytest.raises(NotFound):
        install_tree(fail, tmp_path / "p/out")
    install_tree(build, tmp_path / "p/out")
    assert everything(tmp_path) == ["p", "p/out", "p/out/x", "p/out/y"]
    assert stat.S_IMODE((tmp_path / "p/out").stat().st_mode) == 0o755


def test_limits_come_from_the_environment_and_bad_ones_name_their_variable():
    environ = {
        "ARGOEXEC_EXTRACT_MAX_MEMBERS": "7", "ARGOEXEC_EXTRACT_MAX_BYTES": "8", "ARGOEXEC_EXTRACT_MAX_RATIO": "9",
        "ARGOEXEC_EXTRACT_OUTSIDE_LINKS": "refuse", "ARGOEXEC_UNDECLARED_ZIP": "unpack",
    }  # fmt: skip
    assert Limits.from_environ(environ) == Limits(7, 8, 9, "refuse", "unpack")
    assert Limits.from_environ({}) == Limits()
    for name in environ:
        for value in ("-1", "many", "0"):
            with pytest.raises(InputError, match=name):
                Limits.from_environ({name: value})


@pytest.mark.parametrize("option", ["--format=gnu", "--format=pax", "--format=ustar", "--format=v7"])
@pytest.mark.parametrize("packer", ["", "-z", "-j", "-J"])
def test_what_gnu_tar_writes_is_unpacked(tmp_path, option, packer):
    if shutil.which("tar") is None or (packer == "-J" and shutil.which("xz") is None):
        pytest.skip("no GNU tar here, or no xz")
    if packer == "-j" and shutil.which("bzip2") is None:
        pytest.skip("no bzip2 here")
    source = tmp_path / "src"
    (source / "sub").mkdir(parents=True)
    (source / "sub/f").write_bytes(os.urandom(100_000))
    (source / "h").hardlink_to(source / "sub/f")
    (source / "l").symlink_to("sub/f")
    arguments = [option, "-C", tmp_path, "-cf", tmp_path / "x.tar", "src"]
    subprocess.run(["tar", *([packer] if packer else []), *arguments], check=True)
    put((tmp_path / "x.tar").read_bytes(), tmp_path / "out")
    subprocess.run(["diff", "-r", "--no-dereference", source, tmp_path / "out"], check=True)
    assert (tmp_path / "out/h").samefile(tmp_path / "out/sub/f")


@pytest.mark.parametrize("form", ["gnu", "0.0", "0.1", "1.0"])
def test_files_with_holes_are_unpacked_with_holes(tmp_path, form):
    if shutil.which("tar") is None:
        pytest.skip("no GNU tar here")
    with (tmp_path / "sparse").open("wb") as file:
        for at in range(0, 60 << 20, 1 << 20):
            file.seek(at)
            file.write(b"x" * 5000)
        file.truncate(70 << 20)
    how = ["--format=gnu"] if form == "gnu" else ["--format=pax", f"--sparse-version={form}"]
    arguments = ["-S", *how, "-C", tmp_path, "-cf", tmp_path / "x.tar", "sparse"]
    subprocess.run(["tar", *arguments], check=True)
    data = (tmp_path / "x.tar").read_bytes()
    assert len(data) < 10 << 20
    assert put(data, tmp_path / "out").size == 70 << 20
    assert (tmp_path / "out").read_bytes() == (tmp_path / "sparse").read_bytes()
    assert (tmp_path / "out").stat().st_blocks * 512 < 10 << 20
    for cut in range(512, 5000, 512):
        with pytest.raises(CorruptData):
            put(data[:cut], tmp_path / "cut", "tar")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_memory_stays_flat_for_any_size(tmp_path, kind):
    """Of a process of its own: nothing against 320 MiB, packed and unpacked in one pipe."""
    program = """
import os, sys
from pathlib import Path
from lifecycle.archive.codec import compress
from lifecycle.archive.extract import Limits, unpack
from lifecycle.archive.headers import build
from lifecycle.archive.stream import ChunkReader
from lifecycle.archive.tar import TarStats
from lifecycle.archive.zip import zip_chunks
size, count, kind = (64 << 20), int(sys.argv[2]), sys.argv[3]
block = os.urandom(1 << 17) + bytes(7 << 17)
def chunks():
    for number in range(count):
        yield build(b"d/%d" % number, b"0", 0o644, 0, 0, size, 0)
        for _ in range(64):
            yield block
    yield bytes(1024)
packed = compress(chunks(), None) if kind == "tar" else zip_chunks(chunks(), None, TarStats(), lambda _: None)
unpack(ChunkReader(packed), Path(sys.argv[1]), kind, Limits())
# Not ru_maxrss: a child begins with its parent's.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    peaks = []
    for count in (0, 5):
        dest = tmp_path / str(count)
        run = [sys.executable, "-c", program, str(dest), str(count), kind]
        peaks.append(int(subprocess.run(run, check=True, capture_output=True, text=True).stdout) >> 10)
    assert len(everything(tmp_path / "5")) == 5
    shutil.rmtree(tmp_path / "5")
    # About 11 MiB of chunks and windows, for 320 MiB as for 64 and for 1280.
    assert peaks[1] - peaks[0] < 32, peaks


def test_it_is_read_back_what_was_stored(tmp_path):
    (tmp_path / "src/empty").mkdir(parents=True)
    (tmp_path / "src/f").write_bytes(b"content")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        data = b"".join(compress(tar_chunks(fd, "src", "anything"), None))
    finally:
        os.close(fd)
    assert put(data, tmp_path / "out") == Unpacked("directory", 3, 7)
    assert everything(tmp_path / "out") == ["empty", "f"]
