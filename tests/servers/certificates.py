"""Certificates for loopback servers, made anew by the ``openssl`` program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own CA, and its key, as PEM files."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=argoexec"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    subprocess.run(
        ["openssl", *request.split(), "-addext", names, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key


def authority(directory: Path) -> tuple[Path, Path]:
    """A CA and its key, as PEM files."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    certificate, key = directory / "ca.pem", directory / "ca-key.pem"
    _openssl(f"req -x509 {_NEW_KEY} -days 2 -subj /CN=argoexec-test-ca", "-keyout", key, "-out", certificate)
    return certificate, key


def issued(directory: Path, name: str, subject: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 from the :func:`authority` of that directory, and its key, as PEM files.

    Args:
        directory: of the authority.
        name: of the files.
        subject: as ``/O=system:masters/CN=admin``: who it is, where a client shows it.
    """
    certificate, key, request = (directory / f"{name}{end}" for end in (".pem", "-key.pem", ".csr"))
    extensions = directory / f"{name}.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
    _openssl(f"req {_NEW_KEY} -subj {subject}", "-keyout", key, "-out", request)
    signer = ("-CA", directory / "ca.pem", "-CAkey", directory / "ca-key.pem", "-CAcreateserial")
    _openssl("x509 -req -days 2", "-in", request, *signer, "-extfile", extensions, "-out", certificate)
    return certificate, key


_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def _openssl(command: str, *files: str | Path) -> None:
    subprocess.run(["openssl", *command.split(), *files], check=True, capture_output=True)


def key_pair(directory: Path, name: str) -> Path:
    """A private key, as a PEM file; no certificate."""
    key = directory / f"{name}.pem"
    _openssl("ecparam -name prime256v1 -genkey -noout", "-out", key)
    return key
