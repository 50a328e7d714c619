"""The pns runtime passes the public suite, on containers that docker makes in one process namespace."""

from __future__ import annotations

import pytest

from tests.conformance.runtime import RuntimeConformance


@pytest.mark.root
@pytest.mark.server("docker")
class TestNamespaceRuntime(RuntimeConformance):
    separates_stderr = False

    @pytest.fixture(autouse=True)
    def _wait_begins_first(self, pod):
        """As in a pod: the kubelet starts the containers in their order."""
        pod.agent()
