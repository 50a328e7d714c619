"""Container runtimes as fixtures, one for the whole run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import dockerd as servers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def dockerd() -> Iterator[servers.Dockerd]:
    """A dockerd with a busybox image; nothing in it survives the run."""
    directory = Path(tempfile.mkdtemp(prefix="dockerd-", dir="/tmp"))  # pytest's are too long for a socket
    try:
        with servers.started(directory) as one:
            yield one
    finally:
        shutil.rmtree(directory, ignore_errors=True)
