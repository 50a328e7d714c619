"""The pns runtime passes the public suite, on containers that docker makes in one process namespace."""

from __future__ import annotations

import os

import pytest

from lifecycle.clock import NEVER
from tests.conformance.runtime import RuntimeConformance


@pytest.mark.root
@pytest.mark.server("docker")
class TestNamespaceRuntime(RuntimeConformance):
    separates_stderr = False

    @pytest.fixture(autouse=True)
    def _wait_begins_first(self, pod):
        """As in a pod: the kubelet starts the containers in their order."""
        pod.agent()

    @pytest.fixture
    def main(self, pod, tmp_path):
        """It begins when it has been found: of mains that live for milliseconds pns loses one in a thousand."""
        gate = tmp_path / "gate"
        gate.mkdir()
        os.mkfifo(gate / "go")

        def start(script):
            pod.start_script("main", f"read _ < /gate/go\n{script}", {"/gate": gate})
            found = pod.runtime.find_main(NEVER)
            (gate / "go").write_text("\n")
            return found

        return start
