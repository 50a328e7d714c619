"""The docker runtime passes the public suite, on a real dockerd."""

import pytest

from tests.conformance.runtime import RuntimeConformance
from tests.runtimes.dockerpods import DockerPod


@pytest.fixture
def pod(dockerd):
    pod = DockerPod(dockerd)
    yield pod
    pod.close()


class TestDockerRuntime(RuntimeConformance):
    """The fixture ``pod`` is the one above."""
