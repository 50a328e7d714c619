"""An SSH server that tells everybody what it was told: the password, or that there was none, in all that it may say."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from functools import cache
from typing import Any, Self

import paramiko

ANSWERS = ("ssh refuses", "ssh asks", "ssh lets in")
"""What it can do: refuse every login; ask on, with the password in the question; let in, and refuse what is asked."""


@cache
def _host_key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


class SshEcho:
    """On a port of loopback; ``sent`` are the passwords and the names of the keys that came."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.sent: list[bytes] = []
        self.children: list[str] = []
        self.token = ""
        logging.getLogger("far end").setLevel(logging.CRITICAL)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.set_log_channel("far end")  # it is in our process, and what it says of itself is not ours
            transport.add_server_key(_host_key())
            transport.set_subsystem_handler("sftp", _Files)
            self._transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(threading.Event(), _Door(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for one in self._transports:
            one.close()
            one.join(10)

    @property
    def words(self) -> str:
        """All that it was told."""
        return " ".join(one.decode(errors="replace") for one in self.sent)


class _Door(paramiko.ServerInterface):
    def __init__(self, owner: SshEcho) -> None:
        self.owner = owner

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey,keyboard-interactive"

    def get_banner(self) -> tuple[str, str]:
        return f"Welcome, {self.owner.words}\r\n", "en"

    def check_auth_password(self, username: str, password: str) -> int:
        self.owner.sent.append(password.encode())
        return self._judge()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._judge()

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        if self.owner.answer == "ssh asks":
            return paramiko.InteractiveQuery(self.owner.words, self.owner.words, f"{self.owner.words}?")
        return paramiko.AUTH_FAILED

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self.owner.sent += [one.encode() for one in responses]
        return paramiko.AUTH_FAILED

    def _judge(self) -> int:
        return paramiko.AUTH_SUCCESSFUL if self.owner.answer == "ssh lets in" else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        def answer() -> None:
            channel.sendall_stderr(f"{command!r}: no, {self.owner.words}\n".encode())
            channel.send_exit_status(1)
            channel.close()

        threading.Thread(target=answer, daemon=True).start()
        return True


class _Files(paramiko.SFTPServer):
    """Has no file, and tells that with what the login was."""

    def __init__(self, channel: Any, name: str, server: _Door) -> None:
        super().__init__(channel, name, server)
        self._words = server.owner.words

    def _send_status(self, request_number: int, code: int, desc: str | None = None) -> None:
        super()._send_status(request_number, code, f"{desc}: {self._words}")
