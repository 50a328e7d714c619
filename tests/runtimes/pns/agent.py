"""The executor's side of the pod: a runtime inside the namespace, driven by a test outside of it over a pipe.

What comes in and goes out is pickled: ``(call, method, arguments)`` and ``(call, result or error)``; a call with the
method ``cancel`` sets the token of another one.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import resource
import sys
import threading
from typing import Any, BinaryIO

from lifecycle.clock import Cancel
from lifecycle.ports import Container
from runtimes import scan
from runtimes.api import ApiServer
from runtimes.credentials import Credentials
from runtimes.pns import NamespaceRuntime
from runtimes.podlog import PodLog
from runtimes.pods import PodWatch

for late in ("lifecycle.beneath", "lifecycle.archive.stream", "lifecycle.archive.tar", "runtimes.inotify"):
    importlib.import_module(late)  # not every user may read this Python
NAMESPACE, POD = "default", "pod-1"


class _Said(logging.Handler):
    """What was logged, for whoever asks."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Agent:
    """The runtime, and what a test wants to know beside."""

    def __init__(self, origin: str, user: int, calm: bool) -> None:
        """``user`` is who to be; ``calm`` looks as seldom as after a long wait from the beginning."""
        "".encode("idna")  # urllib3 needs the codec, and not every user may read this Python
        if user:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        if calm:
            scan._URGENT = 0.0
        self._said = _Said()
        logging.getLogger("argoexec").addHandler(self._said)
        watch = output = None
        if origin != "-":
            api = ApiServer(Credentials(origin, NAMESPACE, "the agent"))
            watch = PodWatch(api, POD)
            output = PodLog(api, watch)
        self.runtime = NamespaceRuntime(watch, output)
        self._streams: dict[int, BinaryIO] = {}

    def said(self) -> list[str]:
        return self._said.lines

    def cpu(self) -> float:
        """Seconds this process has had of a processor."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def main_pid(self) -> int:
        return self.runtime._main.pid

    def descriptors(self) -> int:
        with self.runtime._scan.changed:  # a look opens some for a moment
            return len(os.listdir("/proc/self/fd"))

    def forget(self) -> None:
        """Look for main anew, with nothing held: for many mains in one pod."""
        watch, output = self.runtime._watch, self.runtime._log
        self.runtime.close()
        self.runtime = NamespaceRuntime(watch, output)

    def read_file(self, container: Container, path: str) -> bytes:
        with self.runtime.open_file(container, path) as stream:
            return stream.read()

    def open_tar(self, container: Container, path: str) -> int:
        return self._keep(self.runtime.open_tar(container, path))

    def open_output(self, container: Container, combined: bool) -> int:
        return self._keep(self.runtime.open_output(container, combined=combined))

    def read(self, stream: int, size: int) -> bytes:
        return self._streams[stream].read(size)

    def close_stream(self, stream: int) -> None:
        self._streams.pop(stream).close()

    def _keep(self, stream: BinaryIO) -> int:
        self._streams[id(stream)] = stream
        return id(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runtime, name)


def main() -> None:
    out, lock = sys.stdout.buffer, threading.Lock()

    def answer(*what: Any) -> None:
        with lock:
            pickle.dump(what, out)
            out.flush()

    try:
        agent = Agent(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "calm")
    except Exception as error:
        answer(0, error)
        return
    answer(0, None)
    cancels: dict[int, Cancel] = {}

    def work(call: int, method: str, arguments: tuple[Any, ...]) -> None:
        given = [cancels[call] if one is Cancel else one for one in arguments]
        try:
            result = getattr(agent, method)(*given)
        except Exception as error:
            result = error
        del cancels[call], given
        answer(call, result)

    while True:
        try:
            call, method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if method == "cancel":
            if call in cancels:
                cancels[call].set(*arguments)
            continue
        cancels[call] = Cancel()
        threading.Thread(target=work, args=(call, method, arguments), daemon=True).start()


if __name__ == "__main__":
    main()
