"""What the hdfs driver asks of a way to HDFS; there are two, RPC and WebHDFS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.body import Inner


@dataclass(frozen=True, slots=True)
class Status:
    """One entry: its full path, bytes, and when it was last written, in ms."""

    path: str
    directory: bool
    size: int
    modified: int

    @property
    def version(self) -> str:
        """Tells this content from others under the same path: HDFS has no better mark."""
        return f"{self.modified}-{self.size}"


class Files(Protocol):
    """The files of one cluster as one user.

    Everything raises :class:`~drivers.hdfs_errors.Refused`, OSError, or an error of ours that is already translated.
    """

    def status(self, path: str) -> Status | None:
        """What is there, if anything."""

    def walk(self, path: str) -> Iterator[Status]:
        """Everything below a directory, in no order."""

    def read(self, path: str, offset: int, size: int) -> Inner:
        """A part of a file; the caller closes it."""

    def write(self, path: str, stream: BinaryIO) -> Status:
        """A file, in the place of any; nothing stays where the stream fails."""

    def make_directories(self, path: str) -> None:
        """With the parents; those that are there stay as they are."""

    def rename(self, path: str, target: str, *, overwrite: bool) -> None:
        """Put a file in another's place."""

    def remove(self, path: str) -> None:
        """A file, or an empty directory; nothing there is success."""
