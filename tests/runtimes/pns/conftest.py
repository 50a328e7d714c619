"""The pod that these tests are about."""

from __future__ import annotations

import pytest

from tests.runtimes.pns.pod import NamespacePod


@pytest.fixture
def pod(dockerd, tmp_path):
    """On a real dockerd; the executor in it is the test's to start."""
    pod = NamespacePod(dockerd, tmp_path)
    yield pod
    pod.close()
