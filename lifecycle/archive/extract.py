"""Unpack an artifact while it is downloaded, into its place or not at all (spec 1.8).

Called for every input artifact, and for what a runtime hands out of a container. The bytes are somebody
else's: an archive cannot write outside its target (:mod:`members`), nor use up the disk or the memory
(:class:`Limits`), and its headers are believed only as far as they can be checked (:mod:`headers`, :mod:`directory`).
"""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from lifecycle.archive import headers
from lifecycle.archive.codec import Detected, decompressed, detect
from lifecycle.archive.limits import VARIABLES, Gauge, Limits, too_big
from lifecycle.archive.members import Tree
from lifecycle.archive.staging import install, install_tree, is_directory, refuse_directory, staged
from lifecycle.archive.stream import Counted, Head
from lifecycle.errors import BadRequest, CorruptData, UnsafeArchive, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lifecycle.archive.headers import Member, Source

__all__ = ["Limits", "Unpacked", "install_tree", "unpack"]

_CHUNK = 256 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an artifact became: a ``file`` or a ``directory``, of so many entries and bytes. ``note`` is for
    the log.
    """

    kind: str
    members: int
    size: int
    note: str = ""


def unpack(
    stream: BinaryIO, dest: Path, declared: str | None, limits: Limits, *, check: Callable[[], None] = lambda: None
) -> Unpacked:
    """Put an artifact at ``dest``: unpacked if it is an archive, else as it is. ``stream`` stays the caller's.

    ``declared`` is the template's archive: ``none`` takes the bytes as they are, ``tar`` and ``zip`` insist, ``None``
    looks: a tar is unpacked, a zip only if ``limits`` say so. An archive of exactly one file or directory becomes that,
    any other a directory. A directory that is there already stays, with its mode, and its children of the same names
    are replaced. After an error everything is as before. ``check`` is called now and then while nothing is read of the
    stream: it may raise, to end it.

    Raises:
        CorruptData: the archive is damaged or cut, or declared and none.
        UnsafeArchive: an entry, which it names, reaches outside; or there is more than ``limits`` allow.
        StorageFull, Forbidden: and the like, where the file system refuses.
        BadRequest: a file should go where a directory is that is not empty; no such archive.
        Unsupported: no module for the compression, or an entry that cannot be read.
    """
    if declared not in (None, "none", "tar", "zip"):
        raise BadRequest(
            f"the archive {declared!r} cannot be unpacked",
            remedy="store the artifact as tar or zip, or declare `archive: {none: {}}` to get it as it is",
        )
    counted = Counted(stream)
    head = Head(counted)
    found = Detected(None, None) if declared == "none" else detect(head)
    if declared == "zip" or (declared is None and found.container == "zip" and limits.zips == "unpack"):
        return _from_zip(head, dest, found, limits, check)
    content = _tar_content(head, found, declared)
    if content is None:
        return _verbatim(head, dest, limits, _why_verbatim(found))

    def fill(tree: Path) -> tuple[Gauge, list[str]]:
        gauge = Gauge(limits, counted, tree)
        source = headers.Source(Counted(content, gauge.came_out))
        return gauge, _fill(_all_of(source), tree, gauge)

    with staged(dest) as stage:
        return _placed(fill, dest, stage)


def _from_zip(stream: BinaryIO, dest: Path, found: Detected, limits: Limits, check: Callable[[], None]) -> Unpacked:
    """Its directory is at its end: it waits beside the target until it is there (ADR 0018)."""
    from lifecycle.archive.unzip import Zip  # noqa: PLC0415 - 7 ms, on the first zip

    with staged(dest) as stage:
        kept = stage / "zip"
        # What surrounds the content takes room too.
        _write(stream, kept, limits, limits.size and 2 * limits.size + (64 << 20))
        fd = os.open(kept, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            try:
                archive = Zip(fd)
            except CorruptData as error:
                if found.container != "tar" and found.compression is None:
                    raise
                what = found.compression or found.container
                raise CorruptData(
                    f"the artifact is declared as zip, but its bytes are {what}: {error}",
                    remedy="leave `archive` out, or store a zip",
                ) from error

            def fill(tree: Path) -> tuple[Gauge, list[str]]:
                gauge = Gauge(limits, archive, tree)
                gauge.foresee(archive.directory.count)

                def came_out(count: int) -> None:
                    check()
                    gauge.came_out(count)

                notes = _fill(archive.members(came_out), tree, gauge)
                return gauge, [*archive.notes, *notes]

            return _placed(fill, dest, stage)
        finally:
            os.close(fd)


def _placed(fill: Callable[[Path], tuple[Gauge, list[str]]], dest: Path, stage: Path) -> Unpacked:
    tree = stage / "tree"
    tree.mkdir(mode=0o700)
    gauge, notes = fill(tree)
    result = _result(tree)
    kind = "directory" if is_directory(result) else "file"
    install(result, dest, stage)
    return Unpacked(kind, gauge.members, gauge.size, "; ".join(notes))


def _verbatim(stream: BinaryIO, dest: Path, limits: Limits, note: str) -> Unpacked:
    refuse_directory(dest)
    with staged(dest) as stage:
        path = stage / "file"
        size = _write(stream, path, limits, limits.size)
        # main may run as any user, and upstream's 0600 is a known trouble (spec 7.2, 39).
        path.chmod(0o644)
        install(path, dest, stage)
    return Unpacked("file", 1, size, note)


def _write(stream: BinaryIO, path: Path, limits: Limits, most: int | None) -> int:
    size = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb", buffering=0) as file:
        while data := stream.read(_CHUNK):
            size += len(data)
            if limits.size is not None and most is not None and size > most:
                raise too_big(limits.size)
            while data:
                data = data[file.write(data) :]
    return size


def _tar_content(head: Head, found: Detected, declared: str | None) -> BinaryIO | None:
    """The tar inside; nothing if there is none."""
    if found.container == "tar" or (declared == "tar" and found.empty):
        return head if found.compression is None else decompressed(head, found.compression)
    if declared != "tar":
        return None
    if found.compression is not None:
        # The tar may begin behind more metadata than was looked at.
        content = Head(decompressed(head, found.compression))
        first = content.peek(headers.BLOCK)
        if headers.is_header(first) or first == bytes(headers.BLOCK):
            return content
    raise _not_a_tar(head, found)


def _all_of(source: Source) -> Iterator[tuple[Member, Source]]:
    for member in headers.members(source):
        yield member, source
    # Only at its end a compressed stream is proven whole.
    source.drain()


def _fill(members: Iterator[tuple[Member, Source]], directory: Path, gauge: Gauge) -> list[str]:
    fd = os.open(directory, _DIRECTORY)
    try:
        with closing(Tree(fd, collect_links=gauge.refuses_links)) as tree:
            for member, source in members:
                gauge.admit(member, tree.made)
                tree.add(member, source)
            gauge.members += tree.made - gauge.implied
            if tree.links:
                _refuse_outside_links(directory, tree.links)
            os.fchmod(fd, 0o755)
            tree.finish()
            return list(tree.notes)
    finally:
        os.close(fd)


def _result(tree: Path) -> Path:
    """The rename rule: what becomes the artifact is the only entry, or the directory of all of them."""
    names = [path.name for path in tree.iterdir()]
    if len(names) != 1:
        return tree
    only = tree / names[0]
    if stat.S_ISLNK(only.lstat().st_mode):
        raise UnsafeArchive(
            f"the only entry {names[0]!r} is a symbolic link: the artifact itself would point elsewhere",
            remedy="store what it points to",
        )
    return only


def _refuse_outside_links(tree: Path, links: list[tuple[str, str]]) -> None:
    """By text, before anything could follow one; a chain of links that all stay inside stays inside."""
    result = _result(tree)
    for path, target in links:
        inside = posixpath.relpath(posixpath.dirname(path) or ".", result.name if result != tree else ".")
        if target.startswith("/") or _climbs(result, inside, target):
            raise UnsafeArchive(
                f"the entry {path!r} is a symbolic link to {target!r}, outside the artifact",
                remedy=f"set {VARIABLES['links']}=keep to keep such links; they are never followed here",
            )


def _climbs(result: Path, inside: str, target: str) -> bool:
    """Whether a relative target leaves ``result``, or might: where `..` leads behind a link cannot be told."""
    here = [part for part in inside.split("/") if part != "."]
    behind_link = False
    for part in target.split("/"):
        if part == "..":
            if not here or behind_link:
                return True
            here.pop()
        elif part not in ("", "."):
            here.append(part)
            behind_link = behind_link or not is_directory(result.joinpath(*here))
    return False


def _why_verbatim(found: Detected) -> str:
    if found.container == "zip":
        return f"stored as it is: a zip that nobody declared ({VARIABLES['zips']}=unpack unpacks it)"
    if found.compression is not None:
        return f"stored as it is: {found.compression} data that holds no tar"
    return ""


def _not_a_tar(head: Head, found: Detected) -> CorruptData | Unsupported:
    if found.compression is not None:
        # Says so itself when the compression is what is missing.
        decompressed(head, found.compression)
    what = found.container or (found.compression and f"{found.compression} data of something else")
    begin = f"they are {what}" if what else f"they begin with {head.peek(24)!r}"
    return CorruptData(
        f"the artifact is declared as tar, but its bytes are not: {begin}",
        remedy="declare `archive: {none: {}}`, or store a tar",
    )
