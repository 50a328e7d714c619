"""HDFS by its own protocol: hdfs-native in a process of its own (ADR 0016), and the executor's end of it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from drivers.hdfs_child import DATA, END, ERROR, FRAME, PACKET, RESULT, receive, send
from drivers.hdfs_errors import Lost, Refused, of_library
from drivers.hdfs_files import Status
from lifecycle.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.kerberos import Login

_CHUNK: Final = 1 << 20
_SERVICE: Final = "argoexec"  # what the name nodes are called together


class RpcFiles:
    """The files of one cluster as one user. The process starts with the first call, and ends when this is forgotten."""

    def __init__(self, addresses: Sequence[str], login: Login, protection: str, timeout: float) -> None:
        """Nothing is started.

        Args:
            addresses: of the name nodes, ``HOST:PORT``; the first that is active serves.
            login: who asks.
            protection: ``dfs.data.transfer.protection``; empty where data nodes do not ask for it.
            timeout: seconds that a server may be silent.
        """
        self._addresses = addresses
        self._login = login
        self._protection = protection
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: ClientProcess | None = None

    def status(self, path: str) -> Status | None:
        """What is there, if anything."""
        with self._call("status", path=path) as channel:
            found = channel.result()
        return None if found is None else Status(*found)

    def walk(self, path: str) -> Iterator[Status]:
        """Everything below a directory, in no order."""
        with self._call("walk", path=path) as channel:
            while (page := channel.result_or_end()) is not None:
                yield from (Status(*entry) for entry in page)

    def read(self, path: str, offset: int, size: int) -> Channel:
        """A part of a file; the caller closes it."""
        channel = self._call("read", path=path, offset=offset, size=size)
        try:
            channel.result()
        except BaseException:
            channel.close()
            raise
        return channel

    def write(self, path: str, stream: BinaryIO) -> Status:
        """A file, in the place of any; nothing stays where the stream fails."""
        with self._call("write", path=path) as channel:
            try:
                channel.result()
                while chunk := stream.read(_CHUNK):
                    channel.send(DATA, chunk)
                channel.send(END)
                return Status(*channel.result())
            except BaseException:
                channel.abandon()
                raise

    def make_directories(self, path: str) -> None:
        """With the parents; those that are there stay as they are."""
        with self._call("make", path=path) as channel:
            channel.result()

    def rename(self, path: str, target: str, *, overwrite: bool) -> None:
        """Put a file in another's place."""
        with self._call("rename", path=path, target=target, overwrite=overwrite) as channel:
            channel.result()

    def remove(self, path: str) -> None:
        """A file, or an empty directory; nothing there is success."""
        with self._call("remove", path=path) as channel:
            channel.result()

    def _call(self, do: str, **arguments: Any) -> Channel:
        with self._lock:
            if self._process is None or self._process.gone:
                self._process = ClientProcess(self._settings(), self._login)
            process = self._process
        # The server is given up first, in the process, which may find another data node; then the process is.
        return process.call({"do": do} | arguments, 2 * self._timeout)

    def _settings(self) -> dict[str, Any]:
        config = {
            # Each name node is asked once: those attempts that a person sees are the lifecycle's.
            "dfs.client.failover.max.attempts": str(len(self._addresses) - 1),
            "dfs.client.socket-timeout": str(int(self._timeout * 1000)),
            "hadoop.security.authentication": "kerberos" if self._login.kerberos else "simple",
        }
        if self._protection:
            config["dfs.data.transfer.protection"] = self._protection
        host = self._addresses[0]
        if len(self._addresses) > 1:
            host = _SERVICE
            names = [f"n{number}" for number in range(len(self._addresses))]
            config[f"dfs.ha.namenodes.{host}"] = ",".join(names)
            for name, address in zip(names, self._addresses, strict=True):
                config[f"dfs.namenode.rpc-address.{host}.{name}"] = address
        return {
            "url": f"hdfs://{host}",
            "config": config,
            "kerberos": self._login.kerberos,
            "protection": self._protection,
            "addresses": list(self._addresses),
            "timeout": self._timeout,
        }


class ClientProcess:
    """One, from its start to its end."""

    def __init__(self, settings: dict[str, Any], login: Login) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = Path(__file__).with_name("hdfs_child.py")
        # -S: its modules are found where ours are. -P: else drivers/http.py would stand for the library's.
        with theirs, login.environment() as (environ, identity, descriptors):
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-S", "-P", "-B", str(program)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environ | {"PYTHONPATH": os.pathsep.join([str(program.parents[1]), *filter(None, sys.path)])},
                pass_fds=descriptors,
            )
        weakref.finalize(self, _end, self._process, self._control)
        self._send(json.dumps(settings | {"identity": identity}).encode())

    def call(self, request: dict[str, Any], timeout: float) -> Channel:
        """Begin a request. The channel keeps the process."""
        mine, theirs = socket.socketpair()
        try:
            with theirs:
                self._send(json.dumps(request).encode(), theirs.fileno())
        except BaseException:
            mine.close()
            raise
        mine.settimeout(timeout)
        return Channel(mine, self)

    @property
    def gone(self) -> bool:
        """Whether it has ended; a download that goes on where it broke then needs another one."""
        return self._process.poll() is not None

    def ended(self) -> Lost:
        """What to say when it is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return Lost(Unavailable(f"the process of the HDFS client ended with status {self._process.returncode}"))

    def _send(self, packet: bytes, *descriptors: int) -> None:
        if len(packet) > PACKET:
            raise Refused("InvalidPath", "the path is too long")
        try:
            socket.send_fds(self._control, [packet], descriptors)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self.ended() from error


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    process.kill()
    process.wait()


class Channel:
    """One request and its answer: frames over a socket of its own."""

    def __init__(self, own: socket.socket, process: ClientProcess) -> None:
        self._socket = own
        self._process = process
        self._left = 0
        self._done = False
        self._aborted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes of the data, nothing at its end."""
        if size <= 0 or self._done:
            return b""
        if not self._left:
            kind, self._left = self._frame()
            if kind == END:
                self._done = True
                return b""
        data = self._socket.recv(min(size, self._left))
        if not data:
            raise self._end()
        self._left -= len(data)
        return data

    def result(self) -> Any:
        """The value of the next frame."""
        _, size = self._frame()
        return json.loads(receive(self._socket, size)) if size else None

    def result_or_end(self) -> Any:
        """As ``result``; ``None`` after the last one."""
        kind, size = self._frame()
        return json.loads(receive(self._socket, size)) if kind == RESULT else None

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """One frame."""
        try:
            send(self._socket, kind, data)
        except (BrokenPipeError, ConnectionResetError):
            self._frame()  # it says why
            raise

    def abandon(self) -> None:
        """End a file before its end; when this returns, it is removed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(_CHUNK):
                pass

    def shutdown(self) -> None:
        """End a read that blocks in another thread."""
        self._aborted = True
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """What has not come is not waited for."""
        self._socket.close()

    def _frame(self) -> tuple[bytes, int]:
        try:
            kind, size = FRAME.unpack(receive(self._socket, FRAME.size))
            if kind == ERROR:
                raise of_library(*json.loads(receive(self._socket, size)))
        except ConnectionError as error:
            raise self._end() from error
        return kind, size

    def _end(self) -> Exception:
        """Why nothing more comes."""
        return Lost(Unavailable("given up")) if self._aborted else self._process.ended()
