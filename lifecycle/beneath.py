"""Open paths below a directory descriptor without ever leaving it.

Whoever reads a container's root or a user's volume goes through here: the files in it are the user's, and the
user may still be renaming them. :func:`open_beneath` sees the directory as its own ``/``, as a chroot would:
absolute paths and absolute links begin there and ``..`` ends there. :func:`open_plain` follows no link at
all. Only :func:`make_beneath` creates anything, and none compares path strings: upstream's lexical checks
needed two CVE fixes.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from stat import S_ISLNK

# openat2(2) has one number on every architecture that Python 3.11 is built for; Linux 5.6.
_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10

# The kernel gives up with EAGAIN when a directory is renamed while it resolves `..`; asking again is its own
# advice.
_RACES = 16

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# What the kernel allows too.
_MAX_LINKS = 40

_missing = False


def open_beneath(root_fd: int, path: str, flags: int = os.O_RDONLY, *, follow_last: bool = True) -> int:
    """Open ``path`` as a process would find it whose root directory is ``root_fd``.

    The caller closes the descriptor. The same as openat2(2) with RESOLVE_IN_ROOT. ``flags`` are those of
    open(2), without O_CREAT; O_CLOEXEC is added. A symbolic link in the last place is followed, unless
    ``follow_last`` is false: then it is an error (ELOOP) or, with O_PATH, the link itself is opened.

    Raises:
        OSError: as open(2), with ``filename`` set; more than 40 links are ELOOP.
    """
    flags |= os.O_CLOEXEC | (0 if follow_last else os.O_NOFOLLOW)
    if "\0" in path:
        # ctypes would end the path there without a word.
        raise OSError(errno.EINVAL, "a path cannot hold a NUL byte", path)
    if not _missing:
        fd = _open_by_kernel(root_fd, path, flags)
        if fd is not None:
            return fd
    return _open_by_walking(root_fd, path, flags)


def open_plain(root_fd: int, path: str, flags: int = os.O_RDONLY) -> int:
    """Open a relative ``path`` none of whose components may be a symbolic link or ``..``.

    Raises:
        OSError: as open(2), with ``filename`` set; a link is ELOOP or ENOTDIR, ``..`` is EXDEV.
    """
    *parents, last = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    if ".." in (*parents, last):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    here = root_fd
    try:
        for name in parents:
            below = os.open(name, _STEP, dir_fd=here)
            if here != root_fd:
                os.close(here)
            here = below
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        if here != root_fd:
            os.close(here)


@dataclass(frozen=True, slots=True)
class Made:
    """A directory that was made: its name in an open one, which is the owner's to close, and how deep it is."""

    parent: int
    name: str
    depth: int


def make_beneath(root_fd: int, names: list[str], made: list[Made]) -> int:
    """Open a directory as :func:`open_beneath` does (O_PATH), each one on the way that is missing made, 0755.

    What was made is added to ``made``, also before an error. No directory is made through a link that leads nowhere.

    Raises:
        OSError: as open(2), with ``filename`` set to as many of the names as it is about; ENOENT is such a link.
    """
    here = open_beneath(root_fd, ".", _STEP)
    try:
        for depth, name in enumerate(names, 1):
            path = "/".join(names[:depth])
            try:
                below = _descend_or_make(root_fd, here, path, name, depth, made)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _descend_or_make(root_fd: int, here: int, path: str, name: str, depth: int, made: list[Made]) -> int:
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return open_beneath(root_fd, path, flags)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, 0o755, dir_fd=here)
    except FileExistsError:
        # Somebody else has just made it; or it is a link, which leads nowhere now as before.
        return open_beneath(root_fd, path, flags)
    made.append(Made(os.dup(here), name, depth))
    below = os.open(name, _STEP, dir_fd=here)
    try:
        os.chmod(f"/proc/self/fd/{below}", 0o755)  # noqa: S103 - whatever the umask
    except BaseException:
        os.close(below)
        raise
    return below


def _open_by_kernel(root_fd: int, path: str, flags: int) -> int | None:
    """The descriptor, or ``None`` where the kernel, or a seccomp profile in its name, does not offer the
    call.
    """
    import ctypes  # noqa: PLC0415 - 4 ms, and only those who read foreign roots pay

    global _missing  # noqa: PLW0603 - a fact about the machine, found out once
    how = (ctypes.c_uint64 * 3)(flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(_RACES):
        fd: int = libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(root_fd),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number == errno.ENOSYS:
            _missing = True
            return None
        if number == errno.EPERM:
            # Old container runtimes answer so for calls they do not know; a real EPERM comes back from the
            # walk.
            return None
        if number not in (errno.EAGAIN, errno.EINTR):
            raise OSError(number, os.strerror(number), path)
    return None


def _open_by_walking(root_fd: int, path: str, flags: int) -> int:
    """The same by hand: one component at a time, no link ever followed by the kernel.

    ``..`` goes back to a descriptor that was held on the way down, so a directory that is moved away
    meanwhile does not lead out.
    """
    if not path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    held = [root_fd]
    ahead = _components(path)
    links = 0
    try:
        while ahead:
            name = ahead.pop()
            last = not ahead
            if name == "..":
                _close_above(held, max(1, len(held) - 1))
                name = "."
            kept = name == "." or (last and flags & os.O_NOFOLLOW)
            target = None if kept else _link_at(held[-1], name)
            if target is not None:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    _close_above(held, 1)
                ahead.extend(_components(target))
            elif last:
                return _open_last(held[-1], name, flags)
            elif name != ".":
                held.append(os.open(name, _STEP, dir_fd=held[-1]))
        return _open_last(held[-1], ".", flags)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        _close_above(held, 1)


def _components(path: str) -> list[str]:
    """Last first. A trailing slash asks for a directory, as ``/.`` does."""
    parts = [part for part in path.split("/") if part]
    return [*(["."] if path.endswith("/") else []), *reversed(parts)]


def _link_at(dir_fd: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _open_last(dir_fd: int, name: str, flags: int) -> int:
    """Open it; a link that came into its place after we looked is refused, as another look would only race
    again.
    """
    fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=dir_fd)
    if flags & os.O_PATH and not flags & os.O_NOFOLLOW and S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    return fd


def _close_above(held: list[int], keep: int) -> None:
    """Close the last ones; the very first is the caller's."""
    while len(held) > keep:
        with suppress(OSError):
            os.close(held.pop())
