"""A TCP proxy on loopback that breaks what goes through it: whatever the protocol, and whether it is TLS or not."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Self

_CHUNK = 64 * 1024
_ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER 0: the other side sees a reset, not an orderly end


@dataclass(slots=True)
class Fault:
    """What happens to connections, one after another.

    Attributes:
        kind: ``cut`` (reset after so many bytes of the server's, or of the client's with ``upward``), ``answer`` (with
            ``data``, then closed, after the client's first bytes), ``refuse`` (reset at once), ``silence`` (after so
            many bytes nothing more comes), ``end`` (an orderly end after so many bytes).
        after: bytes that still pass.
        times: how many connections it happens to; of a cut, those that come so far.
    """

    kind: str
    after: int = 0
    times: int = 1
    data: bytes = b""
    upward: bool = False


class Proxy:
    """Forwards to ``target``, a ``HOST:PORT`` or a Unix socket's path; connections without a fault pass unharmed.

    It listens on a port of its own of 127.0.0.1, or at ``address``, for servers that tell clients where to go.
    """

    def __init__(self, target: str, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._target = target
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._server = socket.create_server(address)
        self.address = f"{address[0]}:{self._server.getsockname()[1]}"
        self.met: list[Fault] = []
        self.connections = 0
        self._start(self._accept)

    def plan(self, *faults: Fault) -> None:
        """These instead of what was planned."""
        with self._lock:
            self._faults = list(faults)

    def hang_up(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            found = list(self._open)
        for one in found:
            _reset(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    # --- connections ---

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        fault = self._planned()
        if fault is not None and fault.kind == "refuse":
            self._meet(fault)
            _reset(client)
            return
        if fault is not None and fault.kind == "answer":
            with contextlib.suppress(OSError), client:
                client.recv(_CHUNK)
                self._meet(fault)
                client.sendall(fault.data)
                client.shutdown(socket.SHUT_WR)
                while client.recv(_CHUNK):  # the rest of a request: unread bytes would become a reset
                    pass
            return
        try:
            server = _connected(self._target)
        except OSError:
            _reset(client)
            return
        with self._lock:
            self._open |= {client, server}
        ends = (client, server)
        up = threading.Thread(target=self._pump, args=(client, server, ends, True), daemon=True)
        up.start()
        self._pump(server, client, ends, False)
        up.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(
        self, source: socket.socket, target: socket.socket, ends: tuple[socket.socket, socket.socket], upward: bool
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                fault = self._planned()
                if fault is not None and fault.upward == upward and passed + len(data) > fault.after:
                    if not self._meet(fault):
                        continue
                    target.sendall(data[: max(0, fault.after - passed)])
                    self._end(fault, source, target, ends)
                    return
                target.sendall(data)
                passed += len(data)
            target.shutdown(socket.SHUT_WR)

    def _end(
        self, fault: Fault, source: socket.socket, target: socket.socket, ends: tuple[socket.socket, socket.socket]
    ) -> None:
        if fault.kind == "silence":
            while source.recv(_CHUNK):
                pass
        elif fault.kind == "end":
            target.shutdown(socket.SHUT_WR)
        else:
            for one in ends:
                _reset(one)

    def _planned(self) -> Fault | None:
        with self._lock:
            return self._faults[0] if self._faults else None

    def _meet(self, fault: Fault) -> bool:
        with self._lock:
            if fault not in self._faults:
                return False
            self.met.append(fault)
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
            return True


def _connected(target: str) -> socket.socket:
    if target.startswith("/"):
        one = socket.socket(socket.AF_UNIX)
        one.connect(target)
        return one
    host, _, port = target.rpartition(":")
    return socket.create_connection((host, int(port)))


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
    with contextlib.suppress(OSError):
        one.close()
