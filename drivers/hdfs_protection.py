"""Whether data nodes protect data as a location asks; in the process of the HDFS client alone (ADR 0016).

hdfs-native takes the strongest protection that a data node offers, and does not know what was asked for: of a cluster
that offers less it would take less, in silence. What a data node offers is the first thing it says, to anybody.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from typing import Any, Final

_LEVELS: Final = {"authentication": 0, "integrity": 1, "privacy": 2}
_NAMES: Final = {b"auth": 0, b"auth-int": 1, b"auth-conf": 2}
_HELLO: Final = struct.pack("!I", 0xDEADBEEF) + b"\x02\x08\x00"  # SASL follows; an empty first message of it
_OFFER: Final = re.compile(rb'qop="([a-z,-]+)"')  # of the DIGEST-MD5 challenge (RFC 2831)
_ANSWER: Final = 4096


class WeakProtection(Exception):
    """A data node offers less than the location asks for."""


class Guard:
    """Looks at each data node once, when the first bytes have come from it or gone to it."""

    def __init__(self, protection: str, name_nodes: list[str], timeout: float) -> None:
        self._protection = protection
        self._name_nodes = name_nodes
        self._timeout = timeout
        self._known: set[Any] = set()

    def check(self) -> None:
        """Nothing where authentication is enough: no data node offers less.

        Raises:
            WeakProtection: one that this process is connected to does not protect data as it should.
        """
        wanted = _LEVELS.get(self._protection, 0)
        if not wanted:
            return
        for peer in _peers() - self._known:
            if self._is_name_node(peer):
                continue
            offered = _offered(peer, self._timeout)
            if offered is None or offered < wanted:
                found = "nothing" if offered is None else next(name for name, one in _LEVELS.items() if one == offered)
                raise WeakProtection(f"the data node {peer[0]}:{peer[1]} offers {found}, not {self._protection}")
            self._known.add(peer)

    def _is_name_node(self, peer: Any) -> bool:
        for address in self._name_nodes:
            host, _, port = address.rpartition(":")
            if int(port) != peer[1]:
                continue
            try:
                found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
            except OSError:  # a name that cannot be resolved now is no reason to refuse anything
                return True
            if peer in {entry[4][:2] for entry in found}:
                return True
        return False


def _peers() -> set[Any]:
    """Whom this process is connected to by TCP."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed since
            held = os.dup(int(name))
            try:
                one = socket.socket(fileno=held)
            except OSError:  # no socket
                os.close(held)
                continue
            with one:
                if one.family in {socket.AF_INET, socket.AF_INET6} and one.type == socket.SOCK_STREAM:
                    found.add(one.getpeername()[:2])
    return found


def _offered(peer: Any, timeout: float) -> int | None:
    """The strongest it offers; ``None`` where it offers no SASL."""
    with contextlib.suppress(OSError), socket.create_connection(peer, timeout) as connection:
        connection.sendall(_HELLO)
        answer = b""
        while not (offer := _OFFER.search(answer)):
            data = connection.recv(_ANSWER)
            if not data or len(answer) > _ANSWER:
                return None
            answer += data
        return max((_NAMES[name] for name in offer[1].split(b",") if name in _NAMES), default=None)
    return None
