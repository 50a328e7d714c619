"""Changes of directories as a file descriptor (inotify(7)), for poll(2) beside a pidfd or a cancel token.

Used by the local runtime, which waits for the sandbox's records, and by the downward-API control plane. It
tells that something happened, not what is true now: whoever is woken looks again.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from lifecycle.errors import Permanent, from_os_error
from runtimes import kernel

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_MODIFY = 0x2
_CLOSE_WRITE = 0x8
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_ONLYDIR = 0x01000000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


class Watch:
    """Names that appear, are replaced, written or removed in some directories."""

    def __init__(self) -> None:
        """Raises ``Permanent`` when the user has no inotify instance left."""
        try:
            self._fd = kernel.call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Permanent(
                f"cannot watch files: {error.strerror}",
                remedy="raise the sysctl fs.inotify.max_user_instances",
            ) from error

    def add(self, directory: Path) -> None:
        """Watch one more directory; adding it again changes nothing.

        Raises:
            NotFound: it is not there.
        """
        self._add(directory, _CLOSE_WRITE | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR)

    def add_file(self, path: Path) -> None:
        """Watch what is written into one file; its events have no name.

        Raises:
            NotFound: it is not there.
        """
        self._add(path, _MODIFY | _CLOSE_WRITE)

    def _add(self, path: Path, mask: int) -> None:
        try:
            kernel.call("inotify_add_watch", self._fd, os.fsencode(path), mask, subject=str(path))
        except OSError as error:
            raise from_os_error(error) from error

    def names(self) -> set[str]:
        """The names that changed since the last call; never blocks. Empty name: events were lost, look
        everywhere.
        """
        found: set[str] = set()
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                length = _EVENT.unpack_from(data, at)[3]
                at += _EVENT.size
                found.add(os.fsdecode(data[at : at + length].rstrip(b"\0")))
                at += length

    def fileno(self) -> int:
        """Readable when there are names."""
        return self._fd

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
