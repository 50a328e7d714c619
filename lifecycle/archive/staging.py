"""All or nothing: fill a hidden directory beside the target, then put it, or what is in it, in the target's
place.

The hidden directory is on the target's file system, so that the last step is a rename. A target that is a
directory already may be a mount point, which cannot be renamed over: then the hidden directory is inside it,
and its children move up. Whatever goes wrong, what was there before is there again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lifecycle.errors import BadRequest, NotFound, Permanent, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def install_tree(build: Callable[[Path], None], dest: Path) -> None:
    """Let ``build`` fill an empty directory, which then becomes ``dest``.

    A directory that is there already stays, with its mode; its children of the same names are replaced.

    Raises:
        StorageFull, Forbidden: and the like, where the file system refuses. Whatever ``build`` raises.
    """
    with staged(dest) as stage:
        tree = stage / "tree"
        tree.mkdir()
        tree.chmod(0o755)
        build(tree)
        install(tree, dest, stage)


@contextmanager
def staged(dest: Path) -> Iterator[Path]:
    """A new directory only we can enter, where a rename to ``dest`` works; gone afterwards, with all that is
    in it.

    Missing parents of ``dest`` are made, 0755 whatever the umask; they go too when the block fails. What an
    earlier attempt that was killed has left behind is removed first.

    Raises:
        LifecycleError: what an OSError of the block or of ours means.
    """
    made: list[Path] = []
    stage: Path | None = None
    try:
        _make_parents(dest.parent, made)
        home = dest if is_directory(dest) else dest.parent
        _remove_leftovers(home, dest.name)
        stage = _new(home, dest.name)
        yield stage
    except BaseException as error:
        if stage is not None:
            remove(stage)
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            meaning = from_os_error(error)
            # Whatever is missing here, it is not what the store was asked for: `optional` must not forgive it.
            raise (Permanent(meaning.message) if isinstance(meaning, NotFound) else meaning) from error
        raise
    remove(stage)


def install(result: Path, dest: Path, stage: Path) -> None:
    """Put ``result``, a file or directory somewhere below the :func:`staged` directory ``stage``, at
    ``dest``.

    Raises:
        BadRequest: ``dest`` is a directory with something in it, or a mount point, and ``result`` is a file.
    """
    if not is_directory(dest):
        if is_directory(result) and os.path.lexists(dest):
            _Moves(stage).put(result, dest)
        else:
            _rename(result, dest)  # one step, also over a file or a link
    elif is_directory(result):
        moves = _Moves(stage)
        for path in sorted(result.iterdir()):
            moves.put(path, dest / path.name)
    else:
        _replace_directory(result, dest, stage)


def refuse_directory(dest: Path) -> None:
    """See, before a file is fetched, that ``dest`` is no directory that it could not replace."""
    if is_directory(dest):
        prefix = _prefix(dest.name)
        if any(not _is_ours(name, prefix) for name in _names(dest)):
            raise _occupied(dest, "it is not empty")


def is_directory(path: Path) -> bool:
    """Whether it is one itself, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


class _Moves:
    """Renames that can be taken back. ``room`` is a directory of ours for what they replace."""

    def __init__(self, room: Path) -> None:
        self._room = room
        self._done: list[tuple[Path, Path]] = []

    def put(self, source: Path, target: Path) -> None:
        """Move it there, replacing; when that fails, so that everything is as before the first ``put``."""
        try:
            if os.path.lexists(target):
                self._move(target, self._room / f"old-{len(self._done)}")
            self._move(source, target)
        except BaseException:
            for there, here in reversed(self._done):
                with suppress(OSError):
                    _rename(here, there)
            raise

    def _move(self, source: Path, target: Path) -> None:
        _rename(source, target)
        self._done.append((source, target))


def _rename(source: Path, target: Path) -> None:
    """rename(2); who moves a directory must be allowed to write in it, as its ``..`` changes."""
    try:
        source.rename(target)
    except PermissionError:
        if not is_directory(source):
            raise
        fd = os.open(source, _DIRECTORY)
        try:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            os.fchmod(fd, mode | 0o300)
            try:
                source.rename(target)
            finally:
                os.fchmod(fd, mode)
        finally:
            os.close(fd)


def _replace_directory(file: Path, dest: Path, stage: Path) -> None:
    """A file in place of an empty directory: over to the parent, where the name becomes free, and in."""
    beside: Path | None = None
    try:
        beside = _new(dest.parent, dest.name)
        kept = beside / "file"
        file.rename(kept)
        remove(stage)
        mode = stat.S_IMODE(dest.lstat().st_mode)
        dest.rmdir()
        try:
            kept.rename(dest)
        except OSError:
            dest.mkdir()
            dest.chmod(mode)
            raise
    except OSError as error:
        full = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        raise _occupied(dest, "it is not empty" if full else f"it cannot be removed: {error.strerror}") from error
    finally:
        if beside is not None:
            remove(beside)


def _occupied(dest: Path, why: str) -> BadRequest:
    return BadRequest(
        f"the artifact is a file, but there is a directory at {str(dest)!r}, and {why}",
        remedy="let the artifact's path name a file that is not there yet, for example one below that directory",
    )


def _make_parents(path: Path, made: list[Path]) -> None:
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for one in reversed(missing):
        try:
            one.mkdir()
        except FileExistsError:
            if not one.is_dir():
                raise
            continue  # another artifact is loaded to a sibling at the same time
        made.append(one)
        one.chmod(0o755)


def _prefix(name: str) -> str:
    if len(os.fsencode(name)) > 200:
        # A name may have 255 bytes; the digest keeps two long ones apart.
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}.argoexec-"


def _is_ours(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and re.fullmatch("[0-9a-f]{8}", name[len(prefix) :]) is not None


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _new(home: Path, name: str) -> Path:
    path = home / f"{_prefix(name)}{os.urandom(4).hex()}"
    path.mkdir(mode=0o700)
    return path


def _remove_leftovers(home: Path, name: str) -> None:
    prefix = _prefix(name)
    for found in _names(home):
        if _is_ours(found, prefix):
            remove(home / found)


def remove(tree: Path) -> None:
    """Remove a directory of ours with all that is in it; what cannot be removed stays.

    Flat: subdirectories move up to the top before they are emptied, so neither descriptors nor the stack
    limit the depth, where shutil.rmtree would give up after 1000 levels. Directories without permissions are
    given them.
    """
    try:
        top = os.open(tree, _DIRECTORY)
    except OSError:
        return
    try:
        # A prefix nobody could have foreseen: an archive may hold any name.
        prefix = os.urandom(8).hex()
        waiting = ["."]
        count = 0
        while waiting:
            name = waiting.pop()
            with suppress(OSError):
                for moved in _empty(top, name, prefix, count):
                    waiting.append(moved)
                    count += 1
                if name != ".":
                    os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    with suppress(OSError):
        tree.rmdir()


def _empty(top: int, name: str, prefix: str, count: int) -> Iterator[str]:
    """Remove the files of a directory, and move its directories to the top; gives their new names."""
    fd = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for entry, directory in found:
            with suppress(OSError):
                if not directory:
                    os.unlink(entry, dir_fd=fd)
                    continue
                os.chmod(entry, 0o700, dir_fd=fd)
                moved = f"{prefix}.{count}"
                os.rename(entry, moved, src_dir_fd=fd, dst_dir_fd=top)
                count += 1
                yield moved
    finally:
        os.close(fd)
