"""How much an archive may become, and what is done with what one may not like in it; set by the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

from lifecycle.errors import InputError, StorageFull, UnsafeArchive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lifecycle.archive.headers import Member

# Small archives may be of any ratio: an honest log of one repeated line reaches gzip's limit of 1032.
_RATIO_FROM = 1 << 30

# The room of smaller files is left to the kernel to refuse.
_LARGE = 256 * 1024

VARIABLES = {
    "members": "ARGOEXEC_EXTRACT_MAX_MEMBERS",
    "size": "ARGOEXEC_EXTRACT_MAX_BYTES",
    "ratio": "ARGOEXEC_EXTRACT_MAX_RATIO",
    "links": "ARGOEXEC_EXTRACT_OUTSIDE_LINKS",
    "zips": "ARGOEXEC_UNDECLARED_ZIP",
}
_CHOICES = {"links": ("keep", "refuse"), "zips": ("keep", "unpack")}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may become.

    Attributes:
        members: entries, and directories that are only implied.
        size: bytes of all files; ``None`` is what the target's file system has free.
        ratio: bytes out for a byte in, once more than 1 GiB has come out.
        links: what becomes of symbolic links that point outside: ``keep`` or ``refuse``. We never follow one.
        zips: what becomes of a zip that nobody declared: ``keep`` or ``unpack``.
    """

    members: int = 5_000_000
    size: int | None = None
    ratio: int = 500
    links: str = "keep"
    zips: str = "keep"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Limits:
        """The defaults, and what ``ARGOEXEC_EXTRACT_…`` and ``ARGOEXEC_UNDECLARED_ZIP`` say otherwise.

        Raises:
            InputError: a value cannot be used; it names the variable.
        """
        chosen: dict[str, int | str] = {}
        for name in (field.name for field in fields(cls)):
            variable = VARIABLES[name]
            text = environ.get(variable, "").strip()
            if not text:
                continue
            if name in _CHOICES:
                if text not in _CHOICES[name]:
                    raise InputError(f"{text!r} is neither {' nor '.join(_CHOICES[name])}", place=variable)
                chosen[name] = text
            elif text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0:
                chosen[name] = int(text)
            else:
                raise InputError(f"{text!r} is not a whole number above 0", place=variable)
        return cls(**chosen)  # type: ignore[arg-type]


class Consumed(Protocol):
    """What came in so far."""

    count: int


class Gauge:
    """Holds the limits against what comes."""

    def __init__(self, limits: Limits, compressed: Consumed, target: Path) -> None:
        """``compressed`` counts what was read of the archive; ``target`` is where it is unpacked."""
        self._limits = limits
        self._compressed = compressed
        self._target = target
        self._out = 0
        self._holes = 0
        self._entries = 0
        self._name = ""
        self.members = 0
        self.implied = 0
        self.size = 0
        self.refuses_links = limits.links == "refuse"

    def came_out(self, count: int) -> None:
        """So many bytes more; at the latest here a bomb is noticed.

        Raises:
            UnsafeArchive: it is one.
        """
        self._out += count
        self._check_ratio()

    def foresee(self, entries: int) -> None:
        """That many are announced, before the first.

        Raises:
            UnsafeArchive: too many.
        """
        if entries > self._limits.members:
            raise UnsafeArchive(
                f"the archive has {entries} entries, and {self._limits.members} are allowed",
                remedy=f"raise {VARIABLES['members']} if that is right",
            )

    def admit(self, member: Member, made: int) -> None:
        """Before an entry is created; ``made`` directories were only implied by names.

        Raises:
            UnsafeArchive: it is one entry, or one byte, too many.
            StorageFull: the target has no room for it.
        """
        self._entries += 1
        self._name = member.name
        self.implied = made
        self.members = self._entries + made
        if self.members > self._limits.members:
            raise UnsafeArchive(
                f"the archive has more than {self._limits.members} entries; {member.name!r} is one too many",
                remedy=f"raise {VARIABLES['members']} if that is right",
            )
        self.size += member.size
        if self._limits.size is not None and self.size > self._limits.size:
            raise too_big(self._limits.size, member.name)
        if member.segments is not None:
            # A sparse file costs no disk, but everybody who reads it afterwards.
            self._holes += member.size - member.stored
            self._check_ratio()
        if self._limits.size is None and member.stored > _LARGE:
            self._check_room(member)

    def _check_ratio(self) -> None:
        out = self._out + self._holes
        if out > _RATIO_FROM and out > self._limits.ratio * self._compressed.count:
            where = f" with the entry {self._name!r}" if self._name else ""
            raise UnsafeArchive(
                f"the archive is a bomb: it became {out} bytes{where},"
                f" more than {self._limits.ratio} times what was read",
                remedy=f"raise {VARIABLES['ratio']} if that is right",
            )

    def _check_room(self, member: Member) -> None:
        """Refuse before the disk is full."""
        system = os.statvfs(self._target)
        free = system.f_bfree * system.f_frsize
        if system.f_blocks and member.stored > free:  # some network file systems tell nothing
            raise StorageFull(
                f"the entry {member.name!r} has {member.stored} bytes, and the target has {free} left",
                remedy="raise the volume's size or the ephemeral-storage limit",
            )


def too_big(limit: int, name: str = "") -> UnsafeArchive:
    """More bytes than ``limit``."""
    return UnsafeArchive(
        f"the artifact has more than {limit} bytes" + (f" with the entry {name!r}" if name else ""),
        remedy=f"raise {VARIABLES['size']} if that is right",
    )
