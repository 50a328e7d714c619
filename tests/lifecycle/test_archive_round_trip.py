"""What is stored comes back: random trees through tar, gzip and extraction, compared with what they were."""

import io
import os
import shutil
import stat
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.archive.codec import compress
from lifecycle.archive.extract import Limits, unpack
from lifecycle.archive.staging import remove
from lifecycle.archive.stream import ChunkReader
from lifecycle.archive.tar import TarStats, tar_chunks

NAMES = st.binary(min_size=1, max_size=120).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
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


@settings(max_examples=60, deadline=None)
@given(TREE, st.sampled_from([None, 0, 1, 9]))
def test_a_tree_comes_back_as_it_was(tree, level):
    home = Path(tempfile.mkdtemp())
    try:
        (home / "src").mkdir()
        build(os.fsencode(home / "src"), tree, [])
        fd = os.open(home, os.O_RDONLY)
        found = TarStats()
        with ChunkReader(compress(tar_chunks(fd, "src", "n" * 30, found=found), level)) as stream:
            unpacked = unpack(stream, home / "out", "tar", Limits())
        os.close(fd)
        assert described(os.fsencode(home / "out")) == described(os.fsencode(home / "src"))
        assert unpacked.members == found.files + found.directories + found.symlinks
        assert found.skipped == []
    finally:
        remove(home)
        assert not home.exists()


@given(st.binary(max_size=3000), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
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
