"""A path becomes a tar, or a stream of files; nothing of it is silently left out."""

import io
import os
import shutil
import socket
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from lifecycle.archive import tar
from lifecycle.archive.codec import compress
from lifecycle.archive.tar import TarStats, measure, open_again, tar_chunks, walk_files
from lifecycle.archive.zip import zip_chunks
from lifecycle.errors import BadRequest, Forbidden, NotFound, Transient


@pytest.fixture
def root(tmp_path):
    (tmp_path / "d/sub/empty").mkdir(parents=True)
    (tmp_path / "d/b").write_bytes(b"bb")
    (tmp_path / "d/a").write_bytes(b"a" * 1000)
    (tmp_path / "d/sub/big").write_bytes(os.urandom(700_000))
    (tmp_path / "d/link").symlink_to("/etc/passwd")
    (tmp_path / "d/z").hardlink_to(tmp_path / "d/b")
    (tmp_path / "outer").symlink_to("/d")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def listed(root_fd, path, arcname, found=None):
    data = b"".join(tar_chunks(root_fd, path, arcname, found=found))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: one for one in archive.getmembers()}


def test_a_directory_gives_its_entries_in_order(root):
    found = TarStats()
    entries = listed(root, "/d", "out", found)
    assert list(entries) == [
        "out", "out/a", "out/b", "out/link", "out/sub", "out/sub/big", "out/sub/empty", "out/z",
    ]  # fmt: skip
    assert entries["out/z"].islnk()
    assert entries["out/z"].linkname == "out/b"
    assert entries["out/link"].linkname == "/etc/passwd"
    assert (found.files, found.directories, found.symlinks, found.bytes) == (4, 3, 1, 701_002)
    assert found.skipped == []


def test_the_path_itself_is_followed_beneath_its_root(root):
    assert "x/sub/big" in listed(root, "../outer", "x")
    assert list(listed(root, "outer/a", "x")) == ["x"]


def test_equal_trees_give_equal_bytes(root, tmp_path):
    shutil.copytree(tmp_path / "d/sub", tmp_path / "copy")
    assert b"".join(tar_chunks(root, "d/sub", "x")) == b"".join(tar_chunks(root, "copy", "x"))


def test_a_missing_path_is_not_found(root):
    for path in ("nothing", "d/a/x", "d/link"):
        with pytest.raises(NotFound, match=path):
            b"".join(tar_chunks(root, path, "x"))
        with pytest.raises(NotFound, match=path):
            list(walk_files(root, path, TarStats()))


def test_what_is_neither_file_nor_directory_is_a_bad_request(root, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BadRequest, match="fifo"):
        b"".join(tar_chunks(root, "fifo", "x"))
    with pytest.raises(BadRequest, match="file"):
        list(walk_files(root, "d/a", TarStats()))


def test_special_files_get_a_header_and_sockets_a_note(root, tmp_path):
    os.mkfifo(tmp_path / "d/fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "d/sock"))
        found = TarStats()
        entries = listed(root, "d", "x", found)
    assert entries["x/fifo"].isfifo()
    assert "x/sock" not in entries
    assert found.skipped == ["'sock': a socket"]


def test_odd_names_and_numbers_survive(root, tmp_path):
    long = "n" * 180 + "/" + "m" * 180
    (tmp_path / "e" / long).parent.mkdir(parents=True)
    (tmp_path / "e" / long).write_bytes(b"x")
    os.utime(tmp_path / "e" / long, (-5, -5))
    with open(os.fsencode(tmp_path) + b"/e/\xff\n", "wb"):
        pass
    (tmp_path / "e/l").symlink_to("t" * 150)
    entries = listed(root, "e", "x")
    assert entries["x/" + long].mtime == -5
    assert "x/\udcff\n" in entries
    assert entries["x/l"].linkname == "t" * 150


def test_a_file_that_shrinks_meanwhile_is_told_by_name(root, tmp_path):
    chunks = tar_chunks(root, "d/sub", "x")
    next(chunks)
    os.truncate(tmp_path / "d/sub/big", 300_000)
    with pytest.raises(Transient, match=r"d/sub/big' changed while it was read"):
        b"".join(chunks)


def test_a_file_that_grows_meanwhile_is_stored_as_long_as_it_was(root, tmp_path):
    before = (tmp_path / "d/sub/big").read_bytes()
    chunks = tar_chunks(root, "d/sub", "x")
    data = next(chunks)
    with (tmp_path / "d/sub/big").open("ab") as file:
        file.write(b"more" * 1000)
    data += b"".join(chunks)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.extractfile("x/big").read() == before


def test_what_vanishes_or_is_replaced_meanwhile_is_told_by_name(root, tmp_path):
    for change in ("unlink", "link", "fifo"):
        (tmp_path / "d/sub/zz").write_bytes(b"x")
        chunks = tar_chunks(root, "d/sub", "x")
        next(chunks)
        (tmp_path / "d/sub/zz").unlink()
        if change == "link":
            (tmp_path / "d/sub/zz").symlink_to("/etc/passwd")
        if change == "fifo":
            os.mkfifo(tmp_path / "d/sub/zz")
        with pytest.raises(Transient, match=r"d/sub/zz' changed"):
            b"".join(chunks)
        (tmp_path / "d/sub/zz").unlink(missing_ok=True)


def test_what_may_not_be_read_is_forbidden_by_name(root, tmp_path, monkeypatch):
    real = os.open

    def refusing(path, flags, *args, **kwargs):
        if path == "b":
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(tar.os, "open", refusing)
    with pytest.raises(Forbidden, match="d/b") as caught:
        b"".join(tar_chunks(root, "d", "x"))
    assert caught.value.remedy


def test_a_deep_tree_leaves_no_descriptor_open_whether_read_to_its_end_or_not(root, tmp_path):
    os.makedirs(tmp_path / ("deep/" + "/".join("x" * 50)))
    before = os.listdir("/proc/self/fd")
    b"".join(tar_chunks(root, "deep", "x"))
    chunks = tar_chunks(root, "d", "x")
    next(chunks)
    chunks.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_gnu_tar_reads_it(root, tmp_path):
    if shutil.which("tar") is None:
        pytest.skip("no GNU tar")
    (tmp_path / "x.tar").write_bytes(b"".join(tar_chunks(root, "d", "d")))
    subprocess.run(["tar", "-df", tmp_path / "x.tar", "-C", tmp_path], check=True)


def test_files_are_walked_and_the_rest_is_told(root):
    found = TarStats()
    files = list(walk_files(root, "outer", found))
    assert [(one.path, one.size) for one in files] == [("a", 1000), ("b", 2), ("sub/big", 700_000), ("z", 2)]
    assert found.skipped == ["'link': a symbolic link", "'sub/empty': an empty directory"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda one: len(read(one)), files)) == [1000, 2, 700_000, 2]


def read(one):
    with one.open() as stream:
        return stream.read()


def test_a_walked_file_that_becomes_a_link_is_not_followed(root, tmp_path):
    files = list(walk_files(root, "d", TarStats()))
    (tmp_path / "d/a").unlink()
    (tmp_path / "d/a").symlink_to("/etc/passwd")
    (tmp_path / "d/sub").rename(tmp_path / "d/gone")
    (tmp_path / "d/sub").symlink_to("gone")
    for one in (files[0], files[2]):
        with pytest.raises(Transient, match="changed"):
            one.open()


LONG = "/".join(["n" * 200] * 4)


@pytest.mark.parametrize("level", [None, *range(-2, 10)])
def test_an_archive_is_never_larger_than_was_measured(tmp_path, level):
    """Noise, crumbs, long names, long links, hard links of long names: enough of each that no slack hides it."""
    directory = tmp_path / "d" / LONG
    directory.mkdir(parents=True)
    (tmp_path / "d/noise").write_bytes(os.urandom(3_000_001))
    for number in range(120):
        (directory / f"crumb-{number}").write_bytes(os.urandom(number))
        (directory / f"linked-{number}").hardlink_to(directory / f"crumb-{number}")
        (directory / f"link-{number}").symlink_to("t" * 4000 + str(number))
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        found = measure(fd, "d")
        archive = b"".join(compress(tar_chunks(fd, "d", "b" * 255), level))
        assert len(archive) <= found.archived
        if level is None:
            zipped = zip_chunks(tar_chunks(fd, "d", "b" * 255), lambda path: open_again(fd, "d", path), found, bool)
            assert sum(map(len, zipped)) <= measure(fd, "d").archived
        one = measure(fd, "d/noise")
        assert len(b"".join(compress(tar_chunks(fd, "d/noise", "b" * 255), level))) <= one.archived
    finally:
        os.close(fd)


def test_what_is_measured_is_what_is_met(root, tmp_path):
    os.mkfifo(tmp_path / "d/fifo")
    found = TarStats()
    entries = listed(root, "d", "x", found)
    told = measure(root, "d")
    assert (told.files, told.directories, told.symlinks) == (found.files, found.directories, found.symlinks)
    assert told.hard_links == 2
    assert told.bytes == found.bytes + 2, "of a hard link each name counts: only packing finds out"
    assert told.names == sum(len(name.encode()) for name in entries) - len(entries) * 2 + 1
