"""What is stored comes back: random trees through tar, gzip and extraction, compared with what they were."""

import io
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import transfer
from lifecycle.archive.extract import Limits, unpack
from lifecycle.archive.staging import remove
from lifecycle.archive.stream import ChunkReader
from lifecycle.archive.tar import open_again, tar_chunks
from lifecycle.errors import BadRequest, NotFound
from lifecycle.location import Location
from lifecycle.mirror import Mirrored
from lifecycle.moved import Moved
from lifecycle.ports import Container, StoredObject
from lifecycle.source import MirrorSource, RuntimeSource

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).map(str.encode)
NAMES = (st.binary(min_size=1, max_size=120) | TEXTS).filter(
    lambda name: not set(name) & {0, 47} and name not in (b".", b"..")
)
FILE = st.tuples(st.just("file"), st.binary(max_size=2000), st.integers(0, 0o777), st.integers(-(10**9), 10**10))
LINK = st.tuples(st.just("link"), st.binary(min_size=1, max_size=150).filter(lambda text: 0 not in text))
HARD = st.tuples(st.just("hard"), st.integers(0, 100))
TREE = st.recursive(
    st.dictionaries(NAMES, FILE | LINK | HARD, max_size=4),
    lambda below: st.dictionaries(
        NAMES, FILE | LINK | HARD | st.tuples(st.just("dir"), below, st.integers(0, 0o777)), max_size=5
    ),
    max_leaves=12,
)


def build(path, tree, files):
    for name, (kind, *what) in tree.items():
        here = path + b"/" + name
        if kind == "dir":
            os.mkdir(here)
            build(here, what[0], files)
            os.utime(here, (what[1], what[1]))
            os.chmod(here, what[1] if os.geteuid() == 0 else what[1] | 0o700)
        elif kind == "link":
            os.symlink(what[0], here)
        elif kind == "hard" and files:
            os.link(files[what[0] % len(files)], here)
        elif kind == "file":
            with open(here, "wb") as file:
                file.write(what[0])
            os.chmod(here, what[1] if os.geteuid() == 0 else what[1] | 0o400)
            os.utime(here, (what[2], what[2]))
            files.append(here)


def described(top):
    found, groups = {}, {}
    for directory, names, files in os.walk(top):
        for name in [b".", *names, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            relative = os.path.relpath(path, top)
            what = [stat.S_IFMT(status.st_mode), status.st_uid, status.st_gid, int(status.st_mtime // 1)]
            if stat.S_ISLNK(status.st_mode):
                what.append(os.readlink(path))
            else:
                what.append(stat.S_IMODE(status.st_mode))
            if stat.S_ISREG(status.st_mode):
                what.append(Path(os.fsdecode(path)).read_bytes())
                groups.setdefault(status.st_ino, set()).add(relative)
            found[relative] = what
    return found, sorted(sorted(group) for group in groups.values())


class Shelf:
    """A store in memory."""

    def __init__(self):
        self.objects = {}

    def save(self, key, stream, size_hint):
        data = b"".join(iter(lambda: stream.read(1 << 16), b""))
        assert size_hint is None or len(data) <= size_hint
        self.objects[key] = data

    def open(self, key):
        if key not in self.objects:
            raise NotFound(key)
        return io.BytesIO(self.objects[key])

    def list(self, key):
        for name, data in self.objects.items():
            if name.startswith(key + "/"):
                yield StoredObject(name[len(key) + 1 :], len(data))


class Runtime:
    """Main's base layer, as our own tar: what docker sends has PAX headers, which test_archive_zip has."""

    def __init__(self, root):
        self.fd = os.open(root, os.O_RDONLY)

    def open_tar(self, container, path):
        return ChunkReader(tar_chunks(self.fd, path, path.rsplit("/", 1)[-1]))

    def open_file(self, container, path):
        return open_again(self.fd, *path.strip("/").split("/", 1))


@contextmanager
def built(tree):
    """A home with the tree at ``src``."""
    home = Path(tempfile.mkdtemp())
    try:
        (home / "src").mkdir()
        build(os.fsencode(home / "src"), tree, [])
        yield home
    finally:
        remove(home)
        assert not home.exists()


@contextmanager
def sourced(kind, home):
    if kind == "mirror":
        with MirrorSource(Mirrored(home, "src"), "/src") as source:
            yield source
        return
    runtime = Runtime(home)
    try:
        with RuntimeSource(runtime, Container("main"), "/src") as source:
            yield source
    finally:
        os.close(runtime.fd)


SOURCES = st.sampled_from(["mirror", "runtime"])
AT = Location("raw", {}, "key")


def load(shelf, home, declared):
    transfer.load(shelf, AT, home / "out", declared, limits=Limits(), width=1, moved=Moved())


@settings(max_examples=60)
@given(TREE, st.sampled_from([None, 0, 1, 9]), SOURCES, st.sampled_from([None, "tar"]))
def test_a_tree_comes_back_as_it_was(tree, level, kind, declared):
    with built(tree) as home, sourced(kind, home) as source:
        shelf, moved = Shelf(), Moved()
        transfer.save_archive(shelf, AT, source, level, moved)
        load(shelf, home, declared)
        assert described(os.fsencode(home / "out")) == described(os.fsencode(home / "src"))
        assert moved.note == ""


@settings(max_examples=60)
@given(TREE, SOURCES)
def test_a_tree_comes_back_from_a_zip_all_but_the_identity_of_hard_links(tree, kind):
    with built(tree) as home, sourced(kind, home) as source:
        shelf, moved = Shelf(), Moved()
        transfer.save_zip(shelf, AT, source, moved)
        load(shelf, home, "zip")
        ours, groups = described(os.fsencode(home / "out"))
        theirs, linked = described(os.fsencode(home / "src"))
        assert ours == theirs
        assert all(len(group) == 1 for group in groups)
        lost = sum(len(group) - 1 for group in linked)
        assert moved.note == (f"hard links stored as files of their own: {lost}" if lost else "")
        with zipfile.ZipFile(io.BytesIO(shelf.objects["key"])) as archive:
            assert archive.testzip() is None
            assert len(archive.namelist()) == len(theirs)


@settings(max_examples=40)
@given(TREE, SOURCES)
def test_the_files_of_a_tree_come_back_as_objects_and_the_rest_is_told(tree, kind):
    with built(tree) as home, sourced(kind, home) as source:
        theirs, _ = described(os.fsencode(home / "src"))
        files = {name: what[-1] for name, what in theirs.items() if stat.S_ISREG(what[0])}
        shelf, moved = Shelf(), Moved()
        if not all(_is_text(name) for name in files):
            with pytest.raises(BadRequest, match="its name is no UTF-8"):
                transfer.save_files(shelf, AT, source, width=1, moved=moved)
            return
        transfer.save_files(shelf, AT, source, width=1, moved=moved)
        assert bool(moved.note) == any(
            stat.S_ISLNK(what[0]) or (stat.S_ISDIR(what[0]) and not _is_parent(name, theirs))
            for name, what in theirs.items()
            if name != b"."
        )
        if files:
            load(shelf, home, "none")
            ours, _ = described(os.fsencode(home / "out"))
            assert {name: what[-1] for name, what in ours.items() if stat.S_ISREG(what[0])} == files


def _is_text(name):
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_parent(name, found):
    return any(os.path.dirname(one) == name for one in found)


@settings(max_examples=15)
@given(TREE)
def test_gnu_tar_and_info_zip_find_the_same_tree(tree):
    if shutil.which("tar") is None or shutil.which("unzip") is None:
        pytest.skip("GNU tar or unzip is not here")
    with built(tree) as home, sourced("mirror", home) as source:
        shelf = Shelf()
        transfer.save_archive(shelf, AT, source, None, Moved())
        (home / "x.tgz").write_bytes(shelf.objects["key"])
        subprocess.run(["tar", "-dzf", home / "x.tgz", "-C", home], check=True, capture_output=True)
        transfer.save_zip(shelf, AT, source, Moved())
        (home / "x.zip").write_bytes(shelf.objects["key"])
        # Names that are no text, and empty targets of links, are beyond it; that every byte is right is not.
        tested = subprocess.run(["unzip", "-tq", home / "x.zip"], check=False, capture_output=True)
        assert b"No errors" in tested.stdout, tested


@given(st.binary(max_size=3000), st.integers(0, 40))
@settings(max_examples=200)
def test_no_bytes_at_all_do_anything_but_unpack_or_fail_by_a_known_error(data, position):
    """Random damage to a small archive."""
    from lifecycle.errors import LifecycleError

    home = Path(tempfile.mkdtemp())
    try:
        whole = bytearray(BASE)
        at = position * 97 % len(BASE)
        whole[at : at + len(data)] = data
        try:
            unpack(io.BytesIO(bytes(whole)), home / "out", "tar", Limits(size=1 << 20, members=100))
        except LifecycleError:
            assert list(home.iterdir()) == []
        else:
            assert [path.name for path in home.iterdir()] == ["out"]
    finally:
        shutil.rmtree(home)


def base():
    from lifecycle.archive import headers

    name = b"x" * 120
    return b"".join([
        headers.build(b"d/", b"5", 0o755, 0, 0, 0, 0), headers.build(b"d/" + name, b"0", 0o644, 0, 0, 3, 0),
        b"abc" + bytes(509), headers.build(b"d/h", b"1", 0o644, 0, 0, 0, 0, b"d/" + name), bytes(1024),
    ])  # fmt: skip


BASE = base()
