"""For the tests of a driver of your own: the conformance suite, whose failures show what differs.

::

    from drivers.testing import DriverConformance, Store

    class TestMine(DriverConformance):
        @pytest.fixture
        def store(self, tmp_path):
            return Store(MyDriver({...}, SecretReader(tmp_path)), "a/key/below/which/nothing/is")

It needs pytest (``argoexec[testing]``), and is imported by tests alone.
"""

from __future__ import annotations

import pytest

# Before the import below: pytest shows values only for the assertions of modules that it was told of.
pytest.register_assert_rewrite("drivers.conformance")

from drivers.conformance import MIB, ODD_NAMES, Bytes, DriverConformance, Store  # noqa: E402 - see above

__all__ = ["MIB", "ODD_NAMES", "Bytes", "DriverConformance", "Store"]
