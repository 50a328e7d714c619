"""Unpack an artifact while it is downloaded, into its place or not at all (spec 1.8).

Called for every input artifact, and for what a runtime hands out of a container. The bytes are somebody
else's: an archive cannot write outside its target (:mod:`members`), nor use up the disk or the memory
(:class:`Limits`), and its headers are believed only as far as they can be checked (:mod:`headers`).
"""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import closing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, BinaryIO

from lifecycle.archive import headers
from lifecycle.archive.codec import Detected, decompressed, detect
from lifecycle.archive.members import Tree
from lifecycle.archive.staging import install, install_tree, is_directory, refuse_directory, staged
from lifecycle.archive.stream import Counted, Head
from lifecycle.errors import BadRequest, CorruptData, InputError, StorageFull, UnsafeArchive, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Limits", "Unpacked", "install_tree", "unpack"]

# Small archives may be of any ratio: an honest log of one repeated line reaches gzip's limit of 1032.
_RATIO_FROM = 1 << 30

_CHUNK = 256 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_VARIABLES = {
    "members": "ARGOEXEC_EXTRACT_MAX_MEMBERS",
    "size": "ARGOEXEC_EXTRACT_MAX_BYTES",
    "ratio": "ARGOEXEC_EXTRACT_MAX_RATIO",
    "links": "ARGOEXEC_EXTRACT_OUTSIDE_LINKS",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may become.

    Attributes:
        members: entries, and directories that are only implied.
        size: bytes of all files; ``None`` is what the target's file system has free.
        ratio: bytes out for a byte in, once more than 1 GiB has come out.
        links: what becomes of symbolic links that point outside: ``keep`` or ``refuse``. We never follow one.
    """

    members: int = 5_000_000
    size: int | None = None
    ratio: int = 500
    links: str = "keep"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Limits:
        """The defaults, and what ``ARGOEXEC_EXTRACT_…`` says otherwise.

        Raises:
            InputError: a value cannot be used; it names the variable.
        """
        chosen: dict[str, int | str] = {}
        for name in (field.name for field in fields(cls)):
            variable = _VARIABLES[name]
            text = environ.get(variable, "").strip()
            if not text:
                continue
            if name == "links":
                if text not in ("keep", "refuse"):
                    raise InputError(f"{text!r} is neither keep nor refuse", place=variable)
                chosen[name] = text
            elif text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0:
                chosen[name] = int(text)
            else:
                raise InputError(f"{text!r} is not a whole number above 0", place=variable)
        return cls(**chosen)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an artifact became: a ``file`` or a ``directory``, of so many entries and bytes. ``note`` is for
    the log.
    """

    kind: str
    members: int
    size: int
    note: str = ""


def unpack(stream: BinaryIO, dest: Path, declared: str | None, limits: Limits) -> Unpacked:
    """Put an artifact at ``dest``: unpacked if it is a tar, else as it is. ``stream`` stays the caller's.

    ``declared`` is the template's archive: ``none`` takes the bytes as they are, ``tar`` insists, ``None``
    looks. A tar of exactly one file or directory becomes that, any other a directory. A directory that is
    there already stays, with its mode, and its children of the same names are replaced. After an error
    everything is as before.

    Raises:
        CorruptData: the archive is damaged or cut, or declared and none.
        UnsafeArchive: an entry, which it names, reaches outside; or there is more than ``limits`` allow.
        StorageFull, Forbidden: and the like, where the file system refuses.
        BadRequest: a file should go where a directory is that is not empty.
        Unsupported: no module for the compression, or no support for the archive.
    """
    if declared not in (None, "none", "tar"):
        known = declared == "zip"
        raise (Unsupported if known else BadRequest)(
            f"the archive {declared!r} cannot be unpacked",
            remedy="store the artifact as tar, or declare `archive: {none: {}}` to get it as it is",
        )
    counted = Counted(stream)
    head = Head(counted)
    found = Detected(None, None) if declared == "none" else detect(head)
    is_tar = found.container == "tar" or (declared == "tar" and found.empty)
    if declared == "tar" and not is_tar:
        raise _not_a_tar(head, found)
    if not is_tar:
        return _verbatim(head, dest, limits, _why_verbatim(found))
    with staged(dest) as stage:
        tree = stage / "tree"
        tree.mkdir(mode=0o700)
        content = head if found.compression is None else decompressed(head, found.compression)
        gauge = _Gauge(limits, counted, tree)
        notes = _extract(content, tree, gauge)
        result = _result(tree)
        kind = "directory" if is_directory(result) else "file"
        install(result, dest, stage)
        return Unpacked(kind, gauge.members, gauge.size, "; ".join(notes))


def _verbatim(stream: BinaryIO, dest: Path, limits: Limits, note: str) -> Unpacked:
    refuse_directory(dest)
    with staged(dest) as stage:
        path = stage / "file"
        size = 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            while data := stream.read(_CHUNK):
                size += len(data)
                if limits.size is not None and size > limits.size:
                    raise _too_big(limits.size)
                while data:
                    data = data[file.write(data) :]
            # main may run as any user, and upstream's 0600 is a known trouble (spec 7.2, 39).
            os.fchmod(file.fileno(), 0o644)
        install(path, dest, stage)
    return Unpacked("file", 1, size, note)


def _extract(content: BinaryIO, directory: Path, gauge: _Gauge) -> list[str]:
    fd = os.open(directory, _DIRECTORY)
    try:
        source = headers.Source(Counted(content, gauge.came_out))
        with closing(Tree(fd, collect_links=gauge.refuses_links)) as tree:
            for member in headers.members(source):
                gauge.admit(member, tree.made)
                tree.add(member, source)
            gauge.members += tree.made - gauge.implied
            # Only at its end a compressed stream is proven whole.
            source.drain()
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


class _Gauge:
    """Holds the limits against what comes."""

    def __init__(self, limits: Limits, compressed: Counted, target: Path) -> None:
        self._limits = limits
        self._compressed = compressed
        self._target = target
        self._out = 0
        self._holes = 0
        self._entries = 0
        self.members = 0
        self.implied = 0
        self.size = 0
        self.refuses_links = limits.links == "refuse"

    def came_out(self, count: int) -> None:
        """So many bytes more of the tar; at the latest here a bomb is noticed."""
        self._out += count
        self._check_ratio("it")

    def admit(self, member: headers.Member, made: int) -> None:
        """Before an entry is created; ``made`` directories were only implied by names."""
        self._entries += 1
        self.implied = made
        self.members = self._entries + made
        if self.members > self._limits.members:
            raise UnsafeArchive(
                f"the archive has more than {self._limits.members} entries; {member.name!r} is one too many",
                remedy=f"raise {_VARIABLES['members']} if that is right",
            )
        self.size += member.size
        if self._limits.size is not None and self.size > self._limits.size:
            raise _too_big(self._limits.size, member.name)
        if member.segments is not None:
            # A sparse file costs no disk, but everybody who reads it afterwards.
            self._holes += member.size - member.stored
            self._check_ratio(f"the entry {member.name!r}")
        if self._limits.size is None and member.stored > _CHUNK:
            self._check_room(member)

    def _check_ratio(self, what: str) -> None:
        out = self._out + self._holes
        if out > _RATIO_FROM and out > self._limits.ratio * self._compressed.count:
            raise UnsafeArchive(
                f"the archive is a bomb: {what} became {out} bytes, more than {self._limits.ratio} times what was read",
                remedy=f"raise {_VARIABLES['ratio']} if that is right",
            )

    def _check_room(self, member: headers.Member) -> None:
        """Refuse before the disk is full; small files are left to the kernel to refuse."""
        system = os.statvfs(self._target)
        free = system.f_bfree * system.f_frsize
        if system.f_blocks and member.stored > free:  # some network file systems tell nothing
            raise StorageFull(
                f"the entry {member.name!r} has {member.stored} bytes, and the target has {free} left",
                remedy="raise the volume's size or the ephemeral-storage limit",
            )


def _too_big(limit: int, name: str = "") -> UnsafeArchive:
    return UnsafeArchive(
        f"the artifact has more than {limit} bytes" + (f" with the entry {name!r}" if name else ""),
        remedy=f"raise {_VARIABLES['size']} if that is right",
    )


def _refuse_outside_links(tree: Path, links: list[tuple[str, str]]) -> None:
    """By text, before anything could follow one; a chain of links that all stay inside stays inside."""
    result = _result(tree)
    for path, target in links:
        inside = posixpath.relpath(posixpath.dirname(path) or ".", result.name if result != tree else ".")
        if target.startswith("/") or _climbs(result, inside, target):
            raise UnsafeArchive(
                f"the entry {path!r} is a symbolic link to {target!r}, outside the artifact",
                remedy=f"set {_VARIABLES['links']}=keep to keep such links; they are never followed here",
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
        return "stored as it is: a zip that nobody declared"
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
