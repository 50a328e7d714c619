"""Repositories over http and https: nginx with basic authentication in front of git's own http-backend."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.process import free_ports, needs, started_process

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "alice"
PASSWORD = "p%40ss/w:rd canary-of-http"

_CONFIG = """
worker_processes 1; daemon off; pid {room}/nginx.pid; error_log {room}/error.log; user root;
events {{ worker_connections 256; }}
http {{
  access_log {room}/access.log; client_max_body_size 0; fastcgi_buffering off;
  client_body_temp_path {room}/t1; proxy_temp_path {room}/t2; fastcgi_temp_path {room}/t3;
  uwsgi_temp_path {room}/t4; scgi_temp_path {room}/t5;
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    fastcgi_param REQUEST_METHOD $request_method; fastcgi_param QUERY_STRING $query_string;
    fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
    fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param GIT_HTTP_EXPORT_ALL "";
    fastcgi_param GIT_PROJECT_ROOT {root}; fastcgi_param REMOTE_USER $remote_user;
    fastcgi_param HOME {room}; fastcgi_param PATH {path}; fastcgi_param PATH_INFO $below;
    location ~ ^/private(/.*) {{
      auth_basic git; auth_basic_user_file {room}/htpasswd;
      set $below $1; fastcgi_pass unix:{room}/fcgi;
    }}
    location ~ ^/public(/.*) {{ set $below $1; fastcgi_pass unix:{room}/fcgi; }}
    location /forbidden/ {{ return 403; }}
    location /busy/ {{ return 503; }}
    location /many/ {{ return 429; }}
    location /page/ {{ return 200 "<html>welcome</html>"; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class GitHttp:
    """Below `private` and `public` are the repositories; `forbidden`, `busy`, `many` and `page` answer for none."""

    address: str
    tls_address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def tls_url(self) -> str:
        return f"https://{self.tls_address}"

    @classmethod
    @contextlib.contextmanager
    def started(cls, root: Path, certificate: tuple[Path, Path]) -> Iterator[GitHttp]:
        """Start one that serves the repositories below `root`; it is killed at the end, with the workers of the CGI."""
        nginx = needs("nginx, fcgiwrap and openssl", "nginx", "fcgiwrap", "openssl", "git")
        fcgiwrap = needs("fcgiwrap", "fcgiwrap")
        where = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
        port, tls_port = free_ports(2)
        with tempfile.TemporaryDirectory(prefix="githttp-") as made:  # a socket's path has 107 characters at most
            room = Path(made)
            hashed = subprocess.run(
                ["openssl", "passwd", "-apr1", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True
            ).stdout
            (room / "htpasswd").write_text(f"{USER}:{hashed}")
            (room / ".gitconfig").write_text(
                "[safe]\n\tdirectory = *\n[uploadpack]\n\tallowFilter = true\n[http]\n\tuploadpack = true\n"
            )
            (room / "nginx.conf").write_text(
                _CONFIG.format(
                    room=room, port=port, tls_port=tls_port, certificate=certificate[0], key=certificate[1],
                    backend=f"{where}/git-http-backend", root=root, path=os.environ["PATH"],
                )
            )  # fmt: skip
            environment = {"PATH": os.environ["PATH"], "HOME": str(room)}
            with (
                started_process(
                    [fcgiwrap, "-c", "4", "-s", f"unix:{room}/fcgi"], room / "fcgi.log", environment, path=room / "fcgi"
                ),
                started_process(
                    [nginx, "-c", room / "nginx.conf", "-p", room], room / "nginx.log", environment, port=port
                ),
            ):
                yield cls(f"127.0.0.1:{port}", f"127.0.0.1:{tls_port}")
