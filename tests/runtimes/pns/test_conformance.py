"""The pns runtime passes the public suite, on containers that docker makes in one process namespace."""

from __future__ import annotations

import pytest

from tests.conformance.runtime import RuntimeConformance
from tests.runtimes.pns.pod import NamespacePod


@pytest.fixture
def pod(dockerd, tmp_path):
    pod = NamespacePod(dockerd, tmp_path)
    pod.agent()  # as in a pod, where wait begins before main
    yield pod
    pod.close()


@pytest.mark.root
@pytest.mark.server("docker")
class TestNamespaceRuntime(RuntimeConformance):
    separates_stderr = False
