"""A real OAuth2 server on a loopback port of its own: Authlib's client credentials grant and nothing lenient.

It runs in the environment that ``ARGOEXEC_SERVERS_PYTHON`` names; ``make test-real`` sees to that.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import ports

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
        app = Path(__file__).with_name("oauth2_app.py")
        process = subprocess.Popen(
            [python(), app, CLIENT, SECRET, method, str(lifetime)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline() or b"0")  # ends when it has, or is not there any more
            assert port, "the OAuth2 server does not come up"
            yield cls(f"http://127.0.0.1:{port}")
        finally:
            ports.stop(process)
            process.stdout.close()

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
    found = os.environ.get("ARGOEXEC_SERVERS_PYTHON")
    if found and os.access(found, os.X_OK):
        return found
    reason = "needs an OAuth2 server (Authlib): make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
