"""This pod, while the modules that see it are being loaded by somebody else."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from lifecycle.ports import Surroundings
from runtimes.thispod import ThisPod


def test_a_module_that_another_thread_still_imports_is_no_watch_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runtimes.pods", ModuleType("runtimes.pods"))
    assert ThisPod(Surroundings("p", {}, Path("annotations"))).watched is None
