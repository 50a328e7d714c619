"""A real OpenStack Swift on loopback ports of its own, spoken to through its s3api: the store that lacks features.

It verifies signatures of version 4 and knows multipart uploads, but no encryption by request, no object lock, no STS.
Four servers and memcached, one device, one replica. The programs are Debian's (``swift-*`` and ``memcached``).
"""

from __future__ import annotations

import array
import contextlib
import gzip
import json
import os
import pwd
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.config
import botocore.exceptions
import pytest

from tests.servers.process import await_ready, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVERS = ("account", "container", "object", "proxy")
_FILTERS = (
    "catch_errors", "gatekeeper", "healthcheck", "cache", "listing_formats", "bulk", "s3api", "tempauth", "slo", "dlo",
    "copy", "versioned_writes", "symlink",
)  # fmt: skip
_EGGS = {"cache": "memcache"}
_SETTINGS = {
    "s3api": "s3_acl = false\nlocation = us-east-1\nallow_multipart_uploads = true\nmax_upload_part_num = 10000",
    "tempauth": "user_test_tester = testing .admin",
    "versioned_writes": "allow_versioned_writes = true",
}


@dataclass(frozen=True, slots=True)
class Swift:
    """A running server with one bucket."""

    endpoint: str
    bucket: str = "artifacts"
    access_key: str = "test:tester"
    secret_key: str = "testing"

    def client(self) -> Any:
        """A plain boto3 client, to prepare and to look."""
        return boto3.session.Session(self.access_key, self.secret_key, region_name="us-east-1").client(
            "s3",
            endpoint_url=f"http://{self.endpoint}",
            config=botocore.config.Config(
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
            ),
        )

    def _store(self, client: Any) -> None:
        client.create_bucket(Bucket=self.bucket)
        client.put_object(Bucket=self.bucket, Key="ready", Body=b"")
        client.delete_object(Bucket=self.bucket, Key="ready")


@contextlib.contextmanager
def started(directory: Path) -> Iterator[Swift]:
    """Start one whose data is below ``directory``; all five processes are killed at the end."""
    programs = {name: program(f"swift-{name}-server") for name in _SERVERS}
    memcached = program("memcached")
    device = directory / "srv/disk"
    device.mkdir(parents=True)
    ports = dict(zip((*_SERVERS, "memcached"), free_ports(5), strict=True))
    (directory / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = argoexec\n")
    (directory / "memcache.conf").write_text("")
    for name in _SERVERS:
        if name != "proxy":
            _ring(directory / f"{name}.ring.gz", ports[name])
        (directory / f"{name}-server.conf").write_text(_configuration(name, directory, ports))
    commands = [[memcached, "-u", _me(), "-l", "127.0.0.1", "-p", str(ports["memcached"]), "-m", "32"]]
    commands += [[*_server(programs[name], directory), str(directory / f"{name}-server.conf")] for name in _SERVERS]
    processes: list[subprocess.Popen[bytes]] = []
    logs: list[Path] = []
    try:
        for command, name in zip(commands, ("memcached", *_SERVERS), strict=True):
            logs.append(directory / f"{name}.log")
            with logs[-1].open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        command,
                        cwd=directory,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
                    )
                )
        server = Swift(f"127.0.0.1:{ports['proxy']}")
        not_yet = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)
        with contextlib.closing(server.client()) as client:
            await_ready("Swift", processes, logs, lambda: server._store(client), not_yet)
        yield server
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def program(name: str) -> str:
    """A server's program; ``make test-real`` fails without it, elsewhere the test is skipped by name."""
    reason = f"needs Swift ({name}): make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") != "1":
        pytest.skip(reason)
    found = shutil.which(name)
    if found is None:
        pytest.fail(reason)
    return found


def _server(path: str, directory: Path) -> list[str]:
    """The server's script, told first where its swift.conf is: it knows no other way than /etc/swift."""
    script = (
        "import sys; from swift.common import utils; utils.set_swift_dir(sys.argv.pop(1)); "
        "path = sys.argv[0] = sys.argv.pop(1); exec(compile(open(path).read(), path, 'exec'))"
    )
    interpreter = Path(path).read_text().partition("\n")[0].removeprefix("#!").split()
    return [*interpreter, "-c", script, str(directory), path]


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _configuration(name: str, directory: Path, ports: dict[str, int]) -> str:
    # No workers: one process each, so that killing it leaves nobody behind.
    text = (
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {ports[name]}\nworkers = 0\nuser = {_me()}\n"
        f"swift_dir = {directory}\ndevices = {directory}/srv\nmount_check = false\nfallocate_reserve = 0\n"
        "log_level = WARNING\nlog_address = /nonexistent\n"
    )
    if name != "proxy":
        return f"{text}[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
    text += f"[pipeline:main]\npipeline = {' '.join(_FILTERS)} proxy-server\n"
    text += "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
    settings = _SETTINGS | {"cache": f"memcache_servers = 127.0.0.1:{ports['memcached']}"}
    for one in _FILTERS:
        text += f"[filter:{one}]\nuse = egg:swift#{_EGGS.get(one, one)}\n{settings.get(one, '')}\n"
    return text


def _ring(path: Path, port: int) -> None:
    """Where everything is: on the one device. (``swift-ring-builder`` needs a second for each, and an hour to redo.)"""
    device = {"id": 0, "device": "disk", "ip": "127.0.0.1", "port": port, "region": 1, "zone": 1, "weight": 1.0}
    device |= {"replication_ip": "127.0.0.1", "replication_port": port, "meta": ""}
    about = {"devs": [device], "part_shift": 32, "replica_count": 1, "byteorder": sys.byteorder, "version": 1}
    text = json.dumps(about).encode()
    ring = struct.pack("!4sHI", b"R1NG", 1, len(text)) + text + array.array("H", [0]).tobytes()
    path.write_bytes(gzip.compress(ring))
