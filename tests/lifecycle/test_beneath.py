"""Paths that are opened beneath a directory stay beneath it, by the kernel's means and by ours."""

import errno
import os
import threading
from contextlib import suppress

import pytest

from lifecycle import beneath


@pytest.fixture(params=["kernel", "walk"])
def how(request, monkeypatch):
    """Every test runs with openat2 and with the walk that replaces it."""
    if request.param == "walk":
        monkeypatch.setattr(beneath, "_missing", True)
    return request.param


@pytest.fixture
def tree(tmp_path):
    """A root with a canary outside of it that every escape would reach."""
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "dir/sub").mkdir(parents=True)
    (root / "file").write_text("file")
    (root / "secret").write_text("inside")
    (root / "dir/sub/deep").write_text("deep")
    for name, target in {
        "absolute": "/secret", "up": "../../../secret", "chain": "chain2", "chain2": "dir/back", "loop": "loop",
        "todir": "dir", "dangling": "nowhere", "rootlink": "/", "dir/back": "../up", "dir/abs": "/dir/sub/",
        "magic": "/proc/self/root/secret", "trailing": "/todir/",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read(root_fd, path, **kwargs):
    fd = beneath.open_beneath(root_fd, path, **kwargs)
    with os.fdopen(fd) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("file", "file"), ("/file", "file"), ("./dir/../file", "file"), ("dir//sub/deep", "deep"),
        ("../../file", "file"), ("/../../secret", "inside"), ("absolute", "inside"), ("up", "inside"),
        ("chain", "inside"), ("dir/back", "inside"), ("todir/sub/deep", "deep"), ("dir/abs/deep", "deep"),
        ("rootlink/rootlink/secret", "inside"), ("todir/../../../secret", "inside"), ("rootlink/../secret", "inside"),
        ("trailing/sub/deep", "deep"), ("dir/abs/../../absolute", "inside"),
    ],
)  # fmt: skip
def test_a_path_is_resolved_as_in_a_chroot(how, tree, path, content):
    assert read(tree, path) == content


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("nothing", errno.ENOENT), ("dangling", errno.ENOENT), ("loop", errno.ELOOP), ("file/x", errno.ENOTDIR),
        ("file/", errno.ENOTDIR), ("file/..", errno.ENOTDIR), ("", errno.ENOENT), ("magic", errno.ENOENT),
        ("a\0b", errno.EINVAL), ("x" * 300, errno.ENAMETOOLONG),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_an_error_that_names_the_path(how, tree, path, number):
    with pytest.raises(OSError) as caught:
        beneath.open_beneath(tree, path)
    assert caught.value.errno == number
    assert caught.value.filename == path


@pytest.mark.parametrize("path", [".", "/", "..", "dir", "todir/", "rootlink", "dir/sub/.."])
def test_directories_can_be_opened_too(how, tree, path):
    fd = beneath.open_beneath(tree, path, os.O_RDONLY | os.O_DIRECTORY)
    assert "sub" in os.listdir(fd) or "dir" in os.listdir(fd)
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_chain_of_more_than_forty_links_is_refused(how, tree):
    for number in range(45):
        os.symlink(f"l{number + 1}", f"l{number}", dir_fd=tree)
    os.symlink("file", "l45", dir_fd=tree)
    assert read(tree, "l6") == "file"
    with pytest.raises(OSError) as caught:
        read(tree, "l5")
    assert caught.value.errno == errno.ELOOP


def test_the_last_link_is_not_followed_on_demand(how, tree):
    with pytest.raises(OSError) as caught:
        beneath.open_beneath(tree, "absolute", follow_last=False)
    assert caught.value.errno == errno.ELOOP
    fd = beneath.open_beneath(tree, "todir/../absolute", os.O_PATH, follow_last=False)
    assert os.readlink("", dir_fd=fd) == "/secret"
    os.close(fd)


def test_a_directory_that_is_moved_away_meanwhile_does_not_lead_out(how, tree, tmp_path):
    os.makedirs(tmp_path / "root/a/b/c")
    (tmp_path / "root/a/b/c/l").symlink_to("../../../secret")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            os.rename(tmp_path / "root/a/b", tmp_path / "b")
            os.rename(tmp_path / "b", tmp_path / "root/a/b")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(tree, "a/b/c/l"))
            except FileNotFoundError:
                seen.add("missing")
    finally:
        stop.set()
        thread.join()
    assert seen <= {"inside", "missing"}


def test_no_descriptor_is_left_open(how, tree):
    before = len(os.listdir("/proc/self/fd"))
    for path in ("dir/sub/deep", "loop", "chain", "file/x"):
        with suppress(OSError):
            os.close(beneath.open_beneath(tree, path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_system_call_that_is_not_permitted_is_replaced_by_the_walk(tree, monkeypatch):
    """As old container runtimes answer; what the kernel knows nothing of is remembered."""
    monkeypatch.setattr(beneath, "_OPENAT2", 9999)
    monkeypatch.setattr(beneath, "_missing", False)
    assert read(tree, "absolute") == "inside"
    assert beneath._missing is True


def test_plain_paths_go_through_no_link(tree):
    fd = beneath.open_plain(tree, "dir/sub/deep")
    os.close(fd)
    for path in ("todir/sub/deep", "absolute", "dir/../file"):
        with pytest.raises(OSError) as caught:
            beneath.open_plain(tree, path)
        assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV)
        assert caught.value.filename == path
