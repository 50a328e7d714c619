"""This pod, while the modules that see it are being loaded by somebody else."""

from __future__ import annotations

import contextlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lifecycle.ports import Surroundings
from runtimes import credentials
from runtimes.thispod import ThisPod


def test_a_module_that_another_thread_still_imports_is_no_watch_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runtimes.pods", ModuleType("runtimes.pods"))
    assert ThisPod(Surroundings("p", {}, Path("annotations"))).watched is None


def test_threads_that_ask_at_once_share_one_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime and the control plane begin in two threads; one that listens to another watch hears nothing."""
    find, together = credentials.find, threading.Barrier(2)

    def slowly(*asked: Any) -> Any:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.2)  # broken where only one thread makes it
        return find(*asked)

    monkeypatch.setattr(credentials, "find", slowly)
    pod = ThisPod(Surroundings("p", {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}, Path("annotations")))
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: pod.follow(), range(2))

    assert first is second
