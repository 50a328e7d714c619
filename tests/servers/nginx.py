"""A real nginx on loopback ports of its own, with DAV: for all, by password, client certificate, or bearer token.

Below each of ``/open``, ``/basic`` and ``/bearer`` is the same directory; ``mtls`` is a port of its own.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.servers.process import free_ports, needs, started_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.fixtures import Secrets

USER, PASSWORD = "dav-user", "dav-passw0rd"
_ROOT = "user root;" if os.geteuid() == 0 else ""
_LOCATIONS = """
    location /open/ { alias %(data)s/; dav_methods PUT DELETE; create_full_put_path on; }
    location /basic/ { alias %(data)s/; dav_methods PUT DELETE; create_full_put_path on;
      auth_basic dav; auth_basic_user_file %(directory)s/htpasswd; }
    location /bearer/ { alias %(data)s/; dav_methods PUT DELETE; create_full_put_path on; auth_request /introspect; }
    location = /introspect { internal; proxy_pass %(introspect)s; proxy_pass_request_body off;
      proxy_set_header Content-Length ""; proxy_set_header Expect ""; }
"""
_CONFIG = """
%(root)s worker_processes 2; daemon off; pid %(directory)s/pid; error_log %(directory)s/log;
events { worker_connections 256; }
http {
  access_log %(directory)s/access.log; client_max_body_size 0; client_body_temp_path %(directory)s/body;
  proxy_temp_path %(directory)s/proxy; fastcgi_temp_path %(directory)s/fastcgi;
  uwsgi_temp_path %(directory)s/uwsgi; scgi_temp_path %(directory)s/scgi;
  server { listen 127.0.0.1:%(http)d; %(locations)s }
  server { listen 127.0.0.1:%(https)d ssl; ssl_certificate %(certificate)s; ssl_certificate_key %(key)s; %(locations)s }
  server { listen 127.0.0.1:%(mtls)d ssl; ssl_certificate %(certificate)s; ssl_certificate_key %(key)s;
    ssl_verify_client on; ssl_client_certificate %(client)s; %(locations)s }
}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running server.

    Attributes:
        http, https, mtls: URLs without a path; the last asks for the client's certificate.
        data: the directory it serves.
    """

    http: str
    https: str
    mtls: str
    data: Path

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path, certificate: tuple[Path, Path], client: Path, introspect: str) -> Iterator[Nginx]:
        """Start one.

        Args:
            directory: an empty one, for its configuration, logs and data.
            certificate: its own, and the key, as PEM files.
            client: the certificate that vouches for clients.
            introspect: the URL that says 204 of a good bearer token.
        """
        program = needs("nginx with DAV", "nginx")
        data = directory / "data"
        data.mkdir()
        (directory / "htpasswd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        ports = dict(zip(("http", "https", "mtls"), free_ports(3), strict=True))
        words = {"directory": directory, "data": data, "introspect": introspect, "client": client, "root": _ROOT}
        words |= {"certificate": certificate[0], "key": certificate[1], **ports}
        (directory / "conf").write_text(_CONFIG % (words | {"locations": _LOCATIONS % words}))
        argv = [program, "-c", directory / "conf", "-p", directory, "-e", directory / "log"]
        urls = (f"{'http' if name == 'http' else 'https'}://127.0.0.1:{port}" for name, port in ports.items())
        with started_process(argv, directory / "stderr", os.environ, port=ports["mtls"]):
            yield cls(*urls, data)


def basic(secrets: Secrets, password: str = PASSWORD) -> dict[str, Any]:
    """What an ``http`` location has beside its URL, to be let in by password."""
    secrets.write("dav", user=USER, password=password)
    pair = {"usernameSecret": {"name": "dav", "key": "user"}, "passwordSecret": {"name": "dav", "key": "password"}}
    return {"auth": {"basicAuth": pair}}


def certified(secrets: Secrets, pair: tuple[Path, Path]) -> dict[str, Any]:
    """The same by a client certificate, of which these are the PEM files."""
    secrets.write("tls", cert=pair[0].read_text(), key=pair[1].read_text())
    names = {"clientCertSecret": {"name": "tls", "key": "cert"}, "clientKeySecret": {"name": "tls", "key": "key"}}
    return {"auth": {"clientCert": names}}
