"""The local runtime passes the public suite."""

import pytest

from tests.conformance.runtime import RuntimeConformance


@pytest.mark.sandbox
class TestLocalRuntime(RuntimeConformance):
    """The fixture ``pod`` is the one of conftest."""
