"""The process in which hdfs-native runs, and how it is spoken to (ADR 0016).

Standard input is a socket of packets. The first is the settings; each other is a request in JSON with one descriptor,
a socket of its own, over which the answer comes in frames. When the executor lets go of its end, the process ends.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import threading
from typing import Any, Final

FRAME: Final = struct.Struct("!cI")  # what it is, and the length of what follows
RESULT, DATA, END, ERROR = b"R", b"D", b"Z", b"E"
PACKET: Final = 256 * 1024
_PAGE: Final = 1000
_PACE: Final = 64  # pieces of data between two looks at the data nodes
_DIRECTORY: Final = 0o777  # as the original makes them, whatever the umask


def send(channel: socket.socket, kind: bytes, data: bytes | memoryview = b"") -> None:
    """One frame."""
    channel.sendall(FRAME.pack(kind, len(data)))
    if data:
        channel.sendall(data)


def receive(channel: socket.socket, size: int) -> bytes:
    """Exactly so many bytes.

    Raises:
        ConnectionAbortedError: the other side has ended.
    """
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        count = channel.recv_into(view)
        if not count:
            raise ConnectionAbortedError
        view = view[count:]
    return bytes(buffer)


def send_json(channel: socket.socket, kind: bytes, value: Any) -> None:
    """One frame with a value."""
    send(channel, kind, json.dumps(value).encode())


class Server:
    """Answers requests, each in a thread of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Any = None
        self._guard: Any = None

    def serve(self, request: dict[str, Any], channel: socket.socket) -> None:
        """Answer one; whatever it ends with is told in a frame."""
        with channel, contextlib.suppress(OSError):
            try:
                getattr(self, f"do_{request.pop('do')}")(channel, **request)
            except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
                return  # nobody waits for the answer any more
            except BaseException as error:  # noqa: BLE001 - a panic of the Rust code is a BaseException
                channel.shutdown(socket.SHUT_RD)  # whoever sends learns of it at once
                kind = "NoClient" if isinstance(error, ImportError) else _kind(error)
                send_json(channel, ERROR, [kind, str(error), getattr(error, "minor", 0)])

    def client(self) -> Any:
        """The client, made when it is first needed."""
        with self._lock:
            if self._client is None:
                from hdfs_native import Client  # noqa: PLC0415 - its absence is told as an answer

                if self._settings["kerberos"]:
                    from drivers import spnego  # noqa: PLC0415 - ctypes, for Kerberos alone

                    spnego.load()
                if self._settings["protection"] not in {"", "authentication"}:
                    from drivers.hdfs_protection import Guard  # noqa: PLC0415 - seldom asked for

                    self._guard = Guard(
                        self._settings["protection"], self._settings["addresses"], self._settings["timeout"]
                    )
                self._client = Client(self._settings["url"], self._settings["config"], **self._settings["identity"])
            return self._client

    def do_status(self, channel: socket.socket, path: str) -> None:
        """``null`` where there is nothing."""
        try:
            found = _status(self.client().get_file_info(path))
        except FileNotFoundError:
            found = None
        send_json(channel, RESULT, found)

    def do_walk(self, channel: socket.socket, path: str) -> None:
        """Everything below a directory, in pages."""
        page = []
        for entry in self.client().list_status(path, recursive=True):
            page.append(_status(entry))
            if len(page) == _PAGE:
                send_json(channel, RESULT, page)
                page = []
        send_json(channel, RESULT, page)
        send(channel, END)

    def do_read(self, channel: socket.socket, path: str, offset: int, size: int) -> None:
        """A part of a file."""
        file = self.client().read(path)
        send(channel, RESULT)
        if size:
            for number, chunk in enumerate(file.read_range_stream(offset, size)):
                self._look(number)
                send(channel, DATA, chunk)
        send(channel, END)

    def do_write(self, channel: socket.socket, path: str) -> None:
        """A file from frames of data; without an end it is removed."""
        from hdfs_native import WriteOptions  # noqa: PLC0415 - as above

        client = self.client()
        file = client.create(path, WriteOptions(overwrite=True, create_parent=False))
        try:
            send(channel, RESULT)
            number = 0
            while (frame := FRAME.unpack(receive(channel, FRAME.size)))[0] == DATA:
                file.write(receive(channel, frame[1]))
                self._look(number)
                number += 1
            file.close()
            send_json(channel, RESULT, _status(client.get_file_info(path)))
        except BaseException:
            with contextlib.suppress(Exception):
                client.delete(path, recursive=False)
            raise

    def _look(self, number: int) -> None:
        """At the data nodes there are, now and then: another block is on another one."""
        if self._guard is not None and number % _PACE == 0:
            self._guard.check()

    def do_make(self, channel: socket.socket, path: str) -> None:
        """A directory and its parents; one that is there is success."""
        self.client().mkdirs(path, _DIRECTORY, create_parent=True)
        send(channel, RESULT)

    def do_rename(self, channel: socket.socket, path: str, target: str, overwrite: bool) -> None:
        """Put a file in another's place."""
        self.client().rename(path, target, overwrite)
        send(channel, RESULT)

    def do_remove(self, channel: socket.socket, path: str) -> None:
        """A file, or an empty directory; nothing there is success."""
        self.client().delete(path, recursive=False)
        send(channel, RESULT)

    def do_negotiate(self, channel: socket.socket, host: str) -> None:
        """A token for one request to a web server."""
        from drivers import spnego  # noqa: PLC0415 - as above

        found = spnego.token(host, self._settings["identity"].get("kerberos_principal", ""))
        send_json(channel, RESULT, base64.b64encode(found).decode())


def _status(found: Any) -> list[Any]:
    return [found.path, found.isdir, found.length, found.modification_time]


def _kind(error: BaseException) -> str:
    """The name of its class; hdfs-native's own classes of OSError are told apart, the kernel's are not."""
    name = type(error).__name__
    if isinstance(error, OSError) and name not in {"FileNotFoundError", "FileExistsError", "NoGssapi"}:
        return "OSError"
    return name


def main() -> None:
    """Serve until the executor lets go."""
    control = socket.socket(fileno=0)
    server = Server(json.loads(control.recv(PACKET)))
    while True:
        packet, descriptors, _, _ = socket.recv_fds(control, PACKET, 1)
        if not packet:
            os._exit(0)  # not even for threads that wait for a server
        channel = socket.socket(fileno=descriptors[0])
        threading.Thread(target=server.serve, args=(json.loads(packet), channel), daemon=True).start()


if __name__ == "__main__":
    main()
