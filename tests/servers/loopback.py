"""An HTTP server in a thread of the tests' own process, on a port of loopback; its handler is what differs."""

from __future__ import annotations

import http.server
import ssl
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path


class Loopback:
    """A running server. Handlers find it as ``self.server.owner``; with a certificate it speaks TLS.

    ``joined`` waits at the end for every connection, so that nothing outlives a test: for a server that closes each
    after one answer. One that is kept would be waited for until its client goes. ``clients`` is the authority of the
    certificate that a client must show.
    """

    def __init__(
        self,
        handler: type[LoopbackHandler],
        certificate: tuple[Path, Path] | None = None,
        *,
        joined: bool = False,
        clients: Path | None = None,
    ) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.owner = self
        self._server.daemon_threads = not joined
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            if clients is not None:
                context.load_verify_locations(clients)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.endpoint = f"127.0.0.1:{self._server.server_address[1]}"
        self.origin = f"{'https' if certificate else 'http'}://{self.endpoint}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    owner: Any

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or refuses the certificate, is part of a test."""


class LoopbackHandler(http.server.BaseHTTPRequestHandler):
    """Keeps connections, and says nothing on the terminal."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass
