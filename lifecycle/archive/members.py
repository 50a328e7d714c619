"""Create the entries of an archive below a directory of ours, and nowhere else.

An entry's name is taken apart, and each directory of it is opened relative to the one before without
following links. A link of the archive can therefore point where it likes: nothing is ever written through it,
and no path string has to be judged. Modes are exact whatever the umask; set-user-ID, set-group-ID and sticky
bits are dropped.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from lifecycle.archive import headers
from lifecycle.beneath import open_plain
from lifecycle.errors import CorruptData, UnsafeArchive, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.archive.headers import Member, Source

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL = 1 << 20

_SUSPECT = "do not unpack this archive before you know who made it"

# What file systems answer that know no owners, modes or times (vfat, some network and FUSE ones), and kernels
# that do not let us set them: a lost owner is no reason to lose the artifact.
_CANNOT = {errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


class Tree:
    """A directory that is filled from an archive; ``close`` it in the end, after :meth:`finish` if all went
    well.
    """

    def __init__(self, root_fd: int, *, collect_links: bool = False) -> None:
        """``root_fd`` is an empty directory that nobody else can enter; it stays the caller's."""
        self._root = root_fd
        self._owners = os.geteuid() == 0
        # One parent is kept open: archives come directory by directory.
        self._parent: tuple[str, int] = ("", root_fd)
        # Modes and times of directories wait until their content is there; this alone grows with the archive.
        self._directories: dict[str, tuple[int, int | None, int, int]] = {}
        self.made = 0
        self.links: list[tuple[str, str]] | None = [] if collect_links else None
        self.notes: dict[str, None] = {}

    def close(self) -> None:
        """Let go of the descriptors."""
        self._keep_parent("", self._root)

    def add(self, member: Member, source: Source) -> None:
        """Create one entry.

        Raises:
            UnsafeArchive: it is no file, directory or link, or reaches outside, or through a link.
            CorruptData: it contradicts an earlier one.
            StorageFull: and whatever else the file system answers.
        """
        try:
            parts = self._parts(member.name, member)
            if not parts:
                if member.kind != headers.DIRECTORY:
                    raise UnsafeArchive(f"the entry {member.name!r} is no directory, but has no name", remedy=_SUSPECT)
                self._remember("", member)
            elif member.kind == headers.DIRECTORY:
                self._directory(parts, member)
            elif member.kind == headers.REGULAR:
                self._file(parts, member, source)
            elif member.kind == headers.SYMLINK:
                self._symlink(parts, member, member.link)
            elif member.kind == headers.HARD_LINK:
                self._hard_link(parts, member)
            else:
                what = "fifo" if member.kind == headers.FIFO else "device"
                raise UnsafeArchive(
                    f"the entry {member.name!r} is a {what}; only files, directories and links are unpacked",
                    remedy="leave it out when the archive is made",
                )
        except OSError as error:
            raise from_os_error(OSError(error.errno, error.strerror, f"entry {member.name!r}")) from error

    def finish(self) -> None:
        """Give the directories their modes, owners and times, the deepest first: the others can lock us out."""
        self.close()
        for path in sorted(self._directories, reverse=True):
            mode, mtime_ns, uid, gid = self._directories[path]
            fd = open_plain(self._root, path or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._attributes(fd, mode, mtime_ns, uid, gid)
            finally:
                os.close(fd)

    # --- names ---

    def _parts(self, name: str, member: Member) -> list[str]:
        if "\0" in name:
            raise UnsafeArchive(f"the entry {member.name!r} has a NUL byte in its name", remedy=_SUSPECT)
        if name.startswith("/"):
            self.notes["a leading '/' was taken off names"] = None
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            where = "" if name == member.name else f", a link to {name!r},"
            raise UnsafeArchive(f"the entry {member.name!r}{where} climbs out with '..'", remedy=_SUSPECT)
        return parts

    def _in_parent(self, parts: list[str], member: Member) -> tuple[int, str]:
        """The open directory an entry belongs to, made if it is not there, and its own name."""
        *parents, last = parts
        path = "/".join(parents)
        if path != self._parent[0]:
            self._keep_parent(path, self._descend(parents, member))
        return self._parent[1], last

    def _keep_parent(self, path: str, fd: int) -> None:
        if self._parent[1] != self._root:
            os.close(self._parent[1])
        self._parent = (path, fd)

    def _descend(self, parents: list[str], member: Member) -> int:
        here = self._root
        try:
            for depth, name in enumerate(parents):
                try:
                    below = os.open(name, _PATH, dir_fd=here)
                except FileNotFoundError:
                    below = self._make(here, name, "/".join(parents[: depth + 1]))
                except OSError as error:
                    if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                        raise
                    raise UnsafeArchive(
                        f"the entry {member.name!r} goes through {'/'.join(parents[: depth + 1])!r},"
                        " which is a link or a file of the same archive",
                        remedy=_SUSPECT,
                    ) from None
                if here != self._root:
                    os.close(here)
                here = below
        except BaseException:
            if here != self._root:
                os.close(here)
            raise
        return here

    def _make(self, parent: int, name: str, path: str) -> int:
        """A directory that no entry has described, or not yet."""
        os.mkdir(name, 0o700, dir_fd=parent)
        self.made += 1
        fd = os.open(name, _PATH, dir_fd=parent)
        self._directories.setdefault(path, (0o755, None, -1, -1))
        return fd

    # --- entries ---

    def _directory(self, parts: list[str], member: Member) -> None:
        parent, name = self._in_parent(parts, member)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise UnsafeArchive(
                    f"the entry {member.name!r} is a directory, but an earlier one of this name is not",
                    remedy=_SUSPECT,
                ) from None
        self._remember("/".join(parts), member)

    def _remember(self, path: str, member: Member) -> None:
        self._directories[path] = (member.mode, member.mtime_ns, member.uid, member.gid)

    def _clear(self, parent: int, name: str, member: Member) -> None:
        """Make room: the last one of a name counts. Only a directory does not give way."""
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise UnsafeArchive(
                f"the entry {member.name!r} would replace the directory of an earlier one", remedy=_SUSPECT
            )
        os.unlink(name, dir_fd=parent)

    def _file(self, parts: list[str], member: Member, source: Source) -> None:
        parent, name = self._in_parent(parts, member)
        try:
            fd = os.open(name, _NEW, 0o600, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name, member)
            fd = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            _write(fd, member, source)
            self._attributes(fd, member.mode, member.mtime_ns, member.uid, member.gid)
        finally:
            os.close(fd)

    def _symlink(self, parts: list[str], member: Member, target: str) -> None:
        if not target or "\0" in target:
            raise CorruptData(f"the entry {member.name!r} is a symbolic link to {target!r}", remedy=_SUSPECT)
        parent, name = self._in_parent(parts, member)
        try:
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name, member)
            os.symlink(target, name, dir_fd=parent)
        if self.links is not None:
            self.links.append(("/".join(parts), target))
        times = (member.mtime_ns, member.mtime_ns)
        self._attempt("times", lambda: os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False))
        if self._owners:
            owner = (member.uid, member.gid)
            self._attempt("owners", lambda: os.chown(name, *owner, dir_fd=parent, follow_symlinks=False))

    def _hard_link(self, parts: list[str], member: Member) -> None:
        target = self._parts(member.link, member)
        if target == parts:
            return
        try:
            fd = open_plain(self._root, "/".join(target), os.O_PATH)
            try:
                mode = os.fstat(fd).st_mode
                pointed = os.readlink("", dir_fd=fd) if stat.S_ISLNK(mode) else None
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            mode, pointed = 0, None
        if pointed is not None:
            # Another name for a link is as good as another link; and it is judged by its own place.
            self._symlink(parts, member, pointed)
            return
        if not stat.S_ISREG(mode):
            raise UnsafeArchive(
                f"the entry {member.name!r} is a hard link to {member.link!r},"
                " which is no file that this archive held before it",
                remedy=_SUSPECT,
            )
        parent, name = self._in_parent(parts, member)
        beside = open_plain(self._root, "/".join(target[:-1]) or ".", _PATH)
        try:
            link = partial(os.link, target[-1], name, src_dir_fd=beside, dst_dir_fd=parent, follow_symlinks=False)
            try:
                link()
            except FileExistsError:
                self._clear(parent, name, member)
                link()
        finally:
            os.close(beside)

    # --- attributes ---

    def _attributes(self, fd: int, mode: int, mtime_ns: int | None, uid: int, gid: int) -> None:
        """The owner comes last: without CAP_FOWNER the rest cannot be set on what is no longer ours."""
        self._attempt("modes", lambda: os.chmod(fd, mode))
        if mtime_ns is None:
            return  # nobody described it
        self._attempt("times", lambda: os.utime(fd, ns=(mtime_ns, mtime_ns)))
        if self._owners:
            self._attempt("owners", lambda: os.chown(fd, uid, gid))

    def _attempt(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except OverflowError:
            self.notes[f"some {what} could not be restored: out of range"] = None
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            self.notes[f"some {what} could not be restored: {error.strerror}"] = None
            if what == "owners":
                self._owners = False


def _write(fd: int, member: Member, source: Source) -> None:
    if member.segments is None:
        if member.stored <= _SMALL:
            _write_all(fd, source.read(member.stored))
        else:
            _write_pieces(fd, source.pieces(member.stored))
        return
    # Holes stay holes.
    os.ftruncate(fd, member.size)
    for offset, length in member.segments:
        os.lseek(fd, offset, os.SEEK_SET)
        _write_pieces(fd, source.pieces(length))


def _write_pieces(fd: int, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        _write_all(fd, piece)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
