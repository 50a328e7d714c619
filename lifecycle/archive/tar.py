"""A path as a tar stream, and a directory as a stream of files; nothing is written to a disk on the way.

The tree belongs to the user, whose processes may still be at work in it: every step down is one name, opened
relative to its directory's descriptor without following links. What cannot be read is an error with its name;
what has no place in an archive is in :class:`TarStats`. Never silently less than what is there.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from lifecycle.archive import headers
from lifecycle.beneath import open_beneath, open_plain
from lifecycle.errors import BadRequest, Forbidden, LifecycleError, NotFound, Transient, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 256 * 1024

# PATH_MAX, and a base name before it.
_LONGEST = 4096 + 256

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# O_NONBLOCK: a fifo that took the place of a file must not hang us; with regular files it does nothing.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_SPECIAL = {stat.S_IFIFO: headers.FIFO, stat.S_IFCHR: headers.CHARACTER, stat.S_IFBLK: headers.BLOCK_DEVICE}
_NAMES = {
    stat.S_IFIFO: "a fifo", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}  # fmt: skip


@dataclass(slots=True)
class TarStats:
    """What was met: ```bytes`` of content and of ``names``, and in ``skipped`` what was left out and why, by line."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    hard_links: int = 0
    bytes: int = 0
    names: int = 0
    skipped: list[str] = field(default_factory=list)

    @property
    def archived(self) -> int:
        """More than its tar+gzip, or its zip, can have.

        The content as deflate stores what it cannot shrink; for an entry a header, one for a long name and what fills
        their last blocks, and the base name that all have (255 bytes, twice in a zip); for a link one more, and the
        longest path there is.
        """
        entries = self.files + self.directories + self.symlinks + len(self.skipped)
        links = self.symlinks + self.hard_links
        return (
            self.bytes + self.bytes // 512 + entries * 5 * headers.BLOCK + 2 * self.names
            + links * (2 * headers.BLOCK + _LONGEST) + (1 << 16)
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A regular file of a directory. ``open`` works at any time, from any thread; ``size`` is as of the walk."""

    path: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass(slots=True)
class _Found:
    """Something the walk has met: a name in an open directory. For a directory ``fd`` is its own, and
    ``below`` its size.
    """

    path: str
    entry: os.DirEntry[str] | None
    fd: int
    below: int = 0


def tar_chunks(root_fd: int, path: str, arcname: str, *, found: TarStats | None = None) -> Iterator[bytes]:
    """The file or directory ``path``, resolved beneath ``root_fd``, as an uncompressed GNU tar.

    Entries are sorted by name, so equal trees give equal bytes. Symbolic and hard links stay what they are;
    sockets are left out. A file that grows meanwhile is stored as long as it was when it was opened.

    Raises:
        NotFound: there is no such path.
        BadRequest: it is neither a file nor a directory.
        Forbidden: something in it cannot be read; the message names it.
        Transient: something changed while it was read.
    """
    stats = TarStats() if found is None else found
    fd = _open_source(root_fd, path)
    try:
        pending = bytearray()
        writer = _Writer(path, arcname, stats)
        entries = writer.directory(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else writer.content(fd, "")
        for piece in entries:
            pending += piece
            if len(pending) >= CHUNK:
                yield bytes(pending)
                pending.clear()
        # Two blocks of zeros are the end; filling a record of 20 blocks is for tapes.
        pending += bytes(2 * headers.BLOCK)
        yield bytes(pending)
    finally:
        os.close(fd)


def measure(root_fd: int, path: str) -> TarStats:
    """What :func:`tar_chunks` would meet, by its directories alone.

    Raises:
        NotFound, BadRequest, Forbidden, Transient: as :func:`tar_chunks`.
    """
    found = TarStats()
    fd = _open_source(root_fd, path)
    try:
        status = os.fstat(fd)
        if not stat.S_ISDIR(status.st_mode):
            return TarStats(files=1, bytes=status.st_size)
        for one in _walk(fd, path):
            found.names += len(os.fsencode(one.path))
            if one.entry is None:
                found.directories += 1
            elif one.entry.is_symlink():
                found.symlinks += 1
            else:
                found.files += 1
                try:
                    status = one.entry.stat(follow_symlinks=False)
                except OSError as error:
                    raise _named(error, path, one.path) from error
                if stat.S_ISREG(status.st_mode):
                    found.bytes += status.st_size
                    found.hard_links += status.st_nlink > 1
    finally:
        os.close(fd)
    return found


def walk_files(root_fd: int, path: str, found: TarStats) -> Iterator[TreeFile]:
    """Every regular file of the directory ``path``, sorted; for stores that keep a directory as objects.

    Such stores know neither links nor empty directories: these are told in ``found.skipped``. ``root_fd``
    must stay open as long as a file of the walk may be opened.

    Raises:
        NotFound, Forbidden, Transient: as :func:`tar_chunks`.
        BadRequest: it is not a directory.
    """
    fd = _open_source(root_fd, path)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise BadRequest(f"{path!r} is a file, not a directory")
        for one in _walk(fd, path):
            if one.entry is None:
                found.directories += 1
                if not one.below and one.path:
                    found.skipped.append(f"{one.path!r}: an empty directory")
                continue
            with _naming(path, one.path):
                status = one.entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                found.symlinks += stat.S_ISLNK(status.st_mode)
                found.skipped.append(f"{one.path!r}: {_NAMES.get(stat.S_IFMT(status.st_mode), 'not a file')}")
                continue
            found.files += 1
            found.bytes += status.st_size
            yield TreeFile(one.path, status.st_size, _opener(root_fd, path, one.path))
    finally:
        os.close(fd)


def _opener(root_fd: int, base: str, relative: str) -> Callable[[], BinaryIO]:
    return lambda: open_again(root_fd, base, relative)


def open_again(root_fd: int, base: str, relative: str) -> BinaryIO:
    """A file that a walk of ``base`` has met.

    Raises:
        Transient, Forbidden: as :func:`tar_chunks`.
    """
    with _naming(base, relative):
        base_fd = open_beneath(root_fd, base, os.O_PATH | os.O_DIRECTORY)
        try:
            fd = open_plain(base_fd, relative, _FILE)
        finally:
            os.close(base_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _changed(base, relative)
    return os.fdopen(fd, "rb")


def _open_source(root_fd: int, path: str) -> int:
    """A readable descriptor of a file or directory. Looked at before it is opened: opening a device can do
    things.
    """
    try:
        fd = open_beneath(root_fd, path, os.O_PATH)
        try:
            mode = os.fstat(fd).st_mode
        finally:
            os.close(fd)
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            if stat.S_IFMT(os.fstat(fd).st_mode) == stat.S_IFMT(mode):
                return fd
            os.close(fd)
            raise _changed(path, "")
    except OSError as error:
        raise _translated(error, path) from error
    raise BadRequest(f"{path!r} is {_NAMES.get(stat.S_IFMT(mode), 'special')}: neither a file nor a directory")


def _walk(top: int, base: str) -> Iterator[_Found]:
    """Everything below ``top``, directories before what is in them; one open descriptor for each level."""
    stack: list[tuple[str, int, Iterator[os.DirEntry[str]]]] = []
    try:
        children = _children(top, base, "")
        yield _Found("", None, top, len(children))
        stack.append(("", top, iter(children)))
        while stack:
            prefix, parent, rest = stack[-1]
            entry = next(rest, None)
            if entry is None:
                stack.pop()
                if parent != top:
                    os.close(parent)
                continue
            path = prefix + entry.name
            if not _is_directory(entry, base, path):
                yield _Found(path, entry, parent)
                continue
            with _naming(base, path):
                fd = os.open(entry.name, _DIRECTORY, dir_fd=parent)
            stack.append((path + "/", fd, iter(())))
            children = _children(fd, base, path)
            yield _Found(path, None, fd, len(children))
            stack[-1] = (path + "/", fd, iter(children))
    finally:
        for _, fd, _ in stack:
            if fd != top:
                os.close(fd)


def _children(fd: int, base: str, path: str) -> list[os.DirEntry[str]]:
    with _naming(base, path), os.scandir(fd) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_directory(entry: os.DirEntry[str], base: str, path: str) -> bool:
    try:  # for every entry: a context manager would be a microsecond
        return entry.is_dir(follow_symlinks=False)
    except OSError as error:
        raise _named(error, base, path) from error


class _Writer:
    """Turns a walk into headers and content."""

    def __init__(self, base: str, arcname: str, stats: TarStats) -> None:
        self._base = base
        self._arcname = os.fsencode(arcname.strip("/"))
        self._stats = stats
        self._linked: dict[tuple[int, int], bytes] = {}

    def directory(self, top: int) -> Iterator[bytes]:
        for one in _walk(top, self._base):
            if one.entry is None:
                self._stats.directories += 1
                yield self._header(one.path, headers.DIRECTORY, os.fstat(one.fd))
                continue
            with _naming(self._base, one.path):
                if one.entry.is_file(follow_symlinks=False):
                    fd = os.open(one.entry.name, _FILE, dir_fd=one.fd)
                else:
                    special = self._special(one, one.entry)
                    fd = -1
            if fd < 0:
                yield special
                continue
            try:
                yield from self.content(fd, one.path)
            finally:
                os.close(fd)

    def content(self, fd: int, path: str) -> Iterator[bytes]:
        """A regular file: its header, then exactly as many bytes as that says."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _changed(self._base, path)
        self._stats.files += 1
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            if key in self._linked:
                yield self._header(path, headers.HARD_LINK, status, link=self._linked[key])
                return
            self._linked[key] = self._name(path)
        yield self._header(path, headers.REGULAR, status, size=status.st_size)
        left = status.st_size
        while left > 0:
            with _naming(self._base, path):
                data = os.read(fd, min(left, CHUNK))
            if not data:
                raise _changed(self._base, path, f": it lost {left} bytes")
            left -= len(data)
            self._stats.bytes += len(data)
            yield data
        yield bytes(headers.padding(status.st_size))

    def _special(self, one: _Found, entry: os.DirEntry[str]) -> bytes:
        """What has no content: a link, a fifo or a device; nothing for a socket, which no archive can hold."""
        status = os.stat(entry.name, dir_fd=one.fd, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            self._stats.symlinks += 1
            target = os.fsencode(os.readlink(entry.name, dir_fd=one.fd))
            return self._header(one.path, headers.SYMLINK, status, link=target)
        if kind in _SPECIAL:
            self._stats.files += 1
            return self._header(one.path, _SPECIAL[kind], status)
        if kind == stat.S_IFSOCK:
            self._stats.skipped.append(f"{one.path!r}: {_NAMES[kind]}")
            return b""
        raise _changed(self._base, one.path)

    def _name(self, path: str) -> bytes:
        return self._arcname + b"/" + os.fsencode(path) if path else self._arcname

    def _header(self, path: str, kind: bytes, status: os.stat_result, *, size: int = 0, link: bytes = b"") -> bytes:
        name = self._name(path) + (b"/" if kind == headers.DIRECTORY else b"")
        device = (0, 0)
        if kind in (headers.CHARACTER, headers.BLOCK_DEVICE):
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        return headers.build(
            name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, size, int(status.st_mtime), link,
            device,
        )  # fmt: skip


def _shown(base: str, path: str) -> str:
    return repr(f"{base.rstrip('/')}/{path}" if path else base)


def _changed(base: str, path: str, more: str = "") -> Transient:
    return Transient(
        f"{_shown(base, path)} changed while it was read{more}",
        remedy="let the program finish writing before it ends, or write outside the artifact's path",
    )


@contextmanager
def _naming(base: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _named(error, base, path) from error


def _named(error: OSError, base: str, path: str) -> LifecycleError:
    if path and isinstance(error, FileNotFoundError):
        return _changed(base, path, ": it vanished")
    if path and error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
        return _changed(base, path, ": it was replaced")
    return _translated(error, f"{base.rstrip('/')}/{path}" if path else base)


def _translated(error: OSError, path: str) -> LifecycleError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotFound(f"there is no {path!r}", remedy="check the path; relative links in it are resolved in its root")
    if isinstance(error, PermissionError):
        return Forbidden(
            f"{path!r} cannot be read: {error.strerror}",
            remedy="make it readable for the executor's user, or run the executor as the user who owns it",
        )
    return from_os_error(OSError(error.errno, error.strerror, path))
