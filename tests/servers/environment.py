"""An environment in which no proxy, profile or credential of the machine is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GIT_", "SSH_", "HADOOP_", "KRB5")


def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take them out for one test."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(_PREFIXES) or name in {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
