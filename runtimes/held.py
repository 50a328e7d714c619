"""Reading below a root that is held by a descriptor, without leaving it (openat2, RESOLVE_IN_ROOT)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from lifecycle.errors import BadRequest, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable


def open_regular(root: int, path: str) -> BinaryIO:
    """A regular file below ``root``, which may be closed at once.

    Raises:
        NotFound: there is none.
        BadRequest: it is a directory, or a special file.
    """
    from lifecycle.beneath import open_beneath  # noqa: PLC0415 - only those who have outputs pay for it

    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer that may never come.
        fd = open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise from_os_error(error) from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise BadRequest(f"{path} is {what}", remedy="a parameter is the text of one file; save it as an artifact")
    return os.fdopen(fd, "rb")


def open_tree(root: int, path: str, on_close: Callable[[], None] | None = None) -> BinaryIO:
    """The path below ``root`` as a tar stream, named by its base name; ``root`` must stay open meanwhile.

    Raises:
        NotFound: there is none; also while it is read.
    """
    from lifecycle.archive.stream import ChunkReader  # noqa: PLC0415
    from lifecycle.archive.tar import tar_chunks  # noqa: PLC0415

    name = os.path.basename(path.rstrip("/")) or "root"
    return ChunkReader(tar_chunks(root, path, name), on_close)


def is_same(root: int, path: str) -> bool:
    """Whether the path below ``root`` is the very file that it is here."""
    from lifecycle.beneath import open_beneath  # noqa: PLC0415

    try:
        fd = open_beneath(root, path, os.O_PATH)
    except OSError:
        return False
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False
    finally:
        os.close(fd)
