"""A real OAuth2 server on a loopback port of its own: Authlib's client credentials grant and nothing lenient.

It runs in the environment that ``ARGOEXEC_SERVERS_PYTHON`` names; ``make test-real`` sees to that.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.process import free_port, needs, started_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fixtures import Secrets

CLIENT, SECRET = "argo client", "cl1ent:s3cret&more"  # what a form must encode


@dataclass(frozen=True, slots=True)
class OAuth2:
    """A running server."""

    url: str

    @classmethod
    @contextlib.contextmanager
    def started(cls, *, method: str = "client_secret_basic", lifetime: int = 3600) -> Iterator[OAuth2]:
        """Start one; ``method`` is how it takes the client's secret, ``lifetime`` the seconds a token lasts."""
        program, port = python(), free_port()
        app = Path(__file__).with_name("oauth2_app.py")
        argv = [program, app, str(port), CLIENT, SECRET, method, str(lifetime)]
        with (
            tempfile.TemporaryDirectory(prefix="argoexec-oauth2-") as room,
            started_process(argv, Path(room) / "log", {"PATH": os.environ.get("PATH", "")}, port=port),
        ):
            yield cls(f"http://127.0.0.1:{port}")

    def revoke(self) -> None:
        """End every token there is."""
        self._ask("POST", "/revoke")

    def issued(self) -> list[str]:
        """Of every token: the scope and the audience that were asked for."""
        return list(json.loads(self._ask("GET", "/issued")))

    def _ask(self, method: str, path: str) -> Any:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, method=method), timeout=30) as answer:
            return answer.read()


def bearer(secrets: Secrets, server: OAuth2, secret: str = SECRET) -> dict[str, Any]:
    """What an ``http`` location has beside its URL, to be let in by a token of the server's."""
    secrets.write("oauth", id=CLIENT, secret=secret, url=f"{server.url}/token")
    names = {"clientIDSecret": "id", "clientSecretSecret": "secret", "tokenURLSecret": "url"}
    found: dict[str, Any] = {name: {"name": "oauth", "key": key} for name, key in names.items()}
    return {"auth": {"oauth2": found | {"scopes": ["read", "write"]}}}


def python() -> str:
    """The interpreter of the servers' environment; without it the test is skipped by name, and fails in test-real."""
    found = os.environ.get("ARGOEXEC_SERVERS_PYTHON", "nowhere")
    return needs("an OAuth2 server (Authlib)", found)
