"""Files of a container by docker's archive endpoint: streams of tar, flat in memory, links followed in the container.

The daemon follows links in the middle of a path by itself, below the container's root; one at the end it gives as the
link, with where it leads in a header. What it cannot follow it answers with 500, whatever the reason.
"""

from __future__ import annotations

import base64
import json
import posixpath
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from lifecycle.archive.stream import ChunkReader
from lifecycle.errors import BadRequest, NotFound, Permanent, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.errors import LifecycleError
    from lifecycle.ports import Container
    from runtimes.dockerapi import Daemon
    from runtimes.dockerstream import Body

_DIRECTORY: Final = 1 << 31
_LINK: Final = 1 << 27
_SPECIAL: Final = (1 << 26) | (1 << 25) | (1 << 24) | (1 << 21)
"""Bits of Go's ``os.FileMode``: devices, FIFOs, sockets, character devices."""
_LINKS: Final = 40
"""As many as the kernel follows. The daemon follows a chain of them at once, so that one is the rule."""
_PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Stat:
    """What the daemon says of a path; ``target`` is where a link leads at last, from the container's root on."""

    mode: int
    target: str

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return bool(self.mode & _DIRECTORY)


class Files:
    """The files of a daemon's containers."""

    def __init__(self, daemon: Daemon) -> None:
        """Nothing is asked yet."""
        self._daemon = daemon

    def open_file(self, container: Container, path: str) -> BinaryIO:
        """A regular file; see :class:`runtimes.docker.DockerRuntime`."""
        path = _normal(path)
        final, stat = self._resolve(container, path)
        if stat.is_directory or stat.mode & _SPECIAL:
            what = "a directory" if stat.is_directory else "not a regular file"
            raise BadRequest(f"{path} is {what}", remedy="a parameter is the text of one file; save it as an artifact")
        body = self._archive(container, final, path)
        return ChunkReader(_content(body, path), body.close)

    def open_tar(self, container: Container, path: str) -> BinaryIO:
        """The path as a tar stream, its first entry named by the path's base name."""
        path = _normal(path)
        final, stat = self._resolve(container, path)
        name = posixpath.basename(path) or "root"
        if stat.is_directory and path != "/":
            # With a slash at its end, a link to a directory is followed and the entries are named by the link.
            return self._archive(container, f"{path}/", path)
        body = self._archive(container, final, path)
        if posixpath.basename(final) == name:
            return body
        return ChunkReader(_renamed(body, posixpath.basename(final), name), body.close)

    def _archive(self, container: Container, final: str, path: str) -> Body:
        try:
            return self._daemon.stream("GET", f"/containers/{container.id}/archive", {"path": final})
        except NotFound as error:
            raise self._missing(container, path) from error

    def _resolve(self, container: Container, path: str) -> tuple[str, Stat]:
        """Where a path leads to in the container, and what is there.

        Raises:
            NotFound: nothing.
            BadRequest: the links lead in a circle.
            Permanent: the container has been removed.
        """
        final = path
        for _ in range(_LINKS):
            try:
                stat = self._stat(container, final)
            except NotFound as error:
                raise self._missing(container, path) from error
            except Unavailable as error:
                raise self._not_followed(container, path, error) from error
            if not stat.mode & _LINK or not stat.target or stat.target == final:
                return final, stat
            final = stat.target
        raise BadRequest(f"{path}: more than {_LINKS} links, one after the other", remedy="do they lead in a circle?")

    def _stat(self, container: Container, path: str) -> Stat:
        with self._daemon.stream("HEAD", f"/containers/{container.id}/archive", {"path": path}) as body:
            try:
                told = json.loads(base64.b64decode(body.headers["X-Docker-Container-Path-Stat"]))
                return Stat(int(told["mode"]), str(told.get("linkTarget", "")))
            except (KeyError, ValueError) as error:
                raise Unavailable(f"the docker daemon does not say what {path} is") from error

    def _missing(self, container: Container, path: str) -> LifecycleError:
        """The daemon answers 404 for a path as for a container; only the first may be forgiven."""
        try:
            self._daemon.inspect(container.id)
        except NotFound:
            return gone(container)
        return NotFound(f"there is no {path!r} in the container {container.name}")

    def _not_followed(self, container: Container, path: str, error: Unavailable) -> LifecycleError:
        """Why a path is answered with 500: the daemon, a circle of links, or a file where a directory should be."""
        try:
            self._stat(container, "/")
        except Unavailable:
            return error  # it is the daemon
        parent = path
        while (parent := posixpath.dirname(parent)) != "/":
            try:
                stat = self._stat(container, parent)
                if stat.mode & _LINK:
                    stat = self._stat(container, stat.target)
            except (NotFound, Unavailable):
                continue
            if not stat.is_directory:
                return NotFound(f"there is no {path!r} in the container {container.name}: {parent} is no directory")
            break
        return BadRequest(
            f"{path} cannot be followed in the container {container.name}", remedy="do its links lead in a circle?"
        )


def _normal(path: str) -> str:
    """From the root on, without ``..``: before it looks at any link, the daemon does the same."""
    return posixpath.normpath("/" + path.lstrip("/"))


def gone(container: Container) -> LifecycleError:
    """Of a container that has been removed: not the NotFound that `optional` forgives."""
    return Permanent(
        f"the container {container.name} ({container.id[:12]}) has been removed, and all it left with it",
        remedy="see what removes containers on that node: the kubelet keeps those of a pod that runs",
    )


def _content(body: Body, path: str) -> Iterator[bytes]:
    """The content of the one file of a tar stream."""
    try:
        with tarfile.open(fileobj=body, mode="r|", bufsize=_PIECE) as archive:
            member = archive.next()
            if member is None:
                raise Unavailable(f"the docker daemon gives an empty archive of {path}")
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                raise BadRequest(f"{path} is not a regular file any more")
            while piece := file.read(_PIECE):
                yield piece
    except tarfile.ReadError as error:
        raise Unavailable(f"the container's tar stream of {path} is broken: {error}") from error


def _renamed(body: Body, old: str, new: str) -> Iterator[bytes]:
    """A tar stream with another first name: that of the link through which it was found, or of the root."""
    prefix = old.strip("/")

    def rename(name: str) -> str:
        below = name.strip("/").removeprefix(prefix).strip("/")
        return f"{new}/{below}" if below else new

    try:
        with tarfile.open(fileobj=body, mode="r|", bufsize=_PIECE) as archive:
            for member in archive:
                # What an extended header says goes before the fields of the plain one.
                for told in ("path", "linkpath"):
                    member.pax_headers.pop(told, None)  # type: ignore[attr-defined]
                member.name = rename(member.name)
                if member.islnk():
                    member.linkname = rename(member.linkname)
                yield member.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
                file = archive.extractfile(member) if member.isreg() else None
                while file is not None and (piece := file.read(_PIECE)):
                    yield piece
                if file is not None:
                    yield bytes(-member.size % tarfile.BLOCKSIZE)
                archive.members = []  # type: ignore[attr-defined] # else every header stays in memory
    except tarfile.ReadError as error:
        raise Unavailable(f"the container's tar stream is broken: {error}") from error
    yield bytes(2 * tarfile.BLOCKSIZE)
