"""A TCP proxy on loopback behind which a server is far away: what it sends arrives later, at any rate."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 256 * 1024


@contextlib.contextmanager
def far_away(target: str, seconds: float) -> Iterator[str]:
    """The address of a proxy through which every byte of ``target``, a ``HOST:PORT``, takes so long to arrive."""
    host, _, port = target.rpartition(":")
    closing = threading.Event()
    open_ones: set[socket.socket] = set()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                theirs = socket.create_connection((host, int(port)))
                for one in (client, theirs):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    open_ones.add(one)
                for source, sink, late in ((client, theirs, 0.0), (theirs, client, seconds)):
                    threading.Thread(target=_pump, args=(source, sink, late, closing), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            closing.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in open_ones:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


def _pump(source: socket.socket, sink: socket.socket, seconds: float, closing: threading.Event) -> None:
    """Each chunk is sent when its time has come, while later ones are already read: a delay, not a slow line."""
    late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def send() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = late.get()
                if closing.wait(max(0.0, due - time.monotonic())) or not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)

    threading.Thread(target=send, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            late.put((time.monotonic() + seconds, data))
    late.put((time.monotonic() + seconds, b""))
