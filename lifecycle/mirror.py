"""A path of main's as the executor sees it, and a place in main's volume to put something into.

``wait`` reads through a mirror (:mod:`lifecycle.source`), ``init`` writes into it (:mod:`lifecycle.phases.loading`).
"""

from __future__ import annotations

import errno
import os
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.beneath import Made, make_beneath
from lifecycle.errors import BadRequest, LifecycleError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A path of main's, seen from the executor: ``root`` is a directory of ours, ``path`` is resolved inside it."""

    root: Path
    path: str

    @contextmanager
    def opened(self, shown: str) -> Iterator[Path]:
        """The place to write to, in the block only; its parents are made, and go again when the block fails.

        The parents are found inside ``root``, as main finds them: a link of the user's does not lead out of it,
        whoever may be making one meanwhile. The last name is not looked up: a link there is the caller's to replace.
        Errors tell the path ``shown``, as main knows it.

        Raises:
            BadRequest: a parent is no directory, or a link that leads nowhere in here.
            LifecycleError, OSError: whatever the block raises, its paths put in terms of main's.
        """
        names = [name for name in self.path.split("/") if name not in ("", ".")]
        if not names:
            yield self.root
            return
        parents = "/".join(shown.rstrip("/").split("/")[:-1]) or "/"
        made: list[Made] = []
        _leftovers.enter()
        whole = False
        try:
            parent = self._open_parent(names[:-1], parents, made)
            # Not /proc/self: a program that a driver runs may be told the path.
            here = f"/proc/{os.readlink('/proc/self')}/fd/{parent}"
            try:
                yield Path(here, names[-1])
            except Exception as error:
                _put(error, here, parents)
                raise
            finally:
                os.close(parent)
            whole = True
        finally:
            _leftovers.leave(made, failed=not whole)

    def _open_parent(self, names: list[str], shown: str, made: list[Made]) -> int:
        self.root.mkdir(parents=True, exist_ok=True)
        root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return make_beneath(root, names, made)
        except OSError as error:
            above = shown.rstrip("/").split("/")
            depth = len(above) - len(names) + len(str(error.filename).split("/"))
            where = "/".join(above[: max(1, depth)]) or "/"
            why = _NO_PARENT.get(error.errno or 0)
            if why is None:
                raise OSError(error.errno, error.strerror, where) from error
            # Never NotFound: `optional` would forgive it.
            raise BadRequest(
                f"nothing can be loaded into {shown}: {where} {why}",
                remedy="correct the artifact's path, or what an earlier artifact or the volume has there",
            ) from error
        finally:
            os.close(root)


_NO_PARENT = {
    errno.ENOTDIR: "is not a directory",
    errno.ENOENT: "is a link that leads nowhere in main's volumes",
    errno.ELOOP: "is a link in a circle",
}


class _Leftovers:
    """Directories that were made for artifacts which then failed.

    Another artifact may be about to be put into one: they go when no place is open any more, if they are empty.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._found: list[Made] = []

    def enter(self) -> None:
        with self._lock:
            self._open += 1

    def leave(self, made: list[Made], *, failed: bool) -> None:
        with self._lock:
            self._open -= 1
            if failed:
                self._found += made
            else:
                for one in made:
                    os.close(one.parent)
            if self._open:
                return
            for one in sorted(self._found, key=lambda one: -one.depth):
                with suppress(OSError):
                    os.rmdir(one.name, dir_fd=one.parent)
                os.close(one.parent)
            self._found.clear()


_leftovers = _Leftovers()


def _put(error: BaseException | None, here: str, shown: str) -> None:
    """Name main's path in an error and in those that led to it, where our own stands."""
    pattern = re.compile(re.escape(here) + r"(?!\d)/?")
    said = shown.rstrip("/") + "/"
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(pattern.sub(lambda _: said, one) if isinstance(one, str) else one for one in error.args)
        names = ("filename", "filename2") if isinstance(error, OSError) else ()
        names = ("message", "remedy") if isinstance(error, LifecycleError) else names
        for name in names:
            text = getattr(error, name)
            if isinstance(text, (str, os.PathLike)):
                setattr(error, name, pattern.sub(lambda _: said, os.fspath(text)))
        error = error.__cause__ or error.__context__
