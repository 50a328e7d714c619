"""A plan at work: proxies around the ports that a pod was given, of which nobody else knows."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from lifecycle import errors
from lifecycle.clock import NEVER
from lifecycle.faults.plan import ALWAYS, ANY, ERRORS, STREAMS
from lifecycle.faults.streams import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.clock import Cancel, Clock
    from lifecycle.context import Pod
    from lifecycle.faults.plan import Fault, Plan

_STREAMING = frozenset({"open_file", "open_tar", "open_output", "open", "open_rest"})


class Injected(Exception):
    """A defect of ours, made on purpose."""


class Faults:
    """The faults of one run, and what has come of them.

    Attributes:
        happened: how often each fault has happened.
    """

    def __init__(self, plan: Plan, clock: Clock, *, kill: Callable[[], None] | None = None) -> None:
        """Take a plan.

        Args:
            plan: what goes wrong where.
            clock: of the pod; its waits end a delay.
            kill: instead of this process's end, in a test.
        """
        self.happened: Counter[Fault] = Counter()
        self._plan = plan
        self._clock = clock
        self._kill = kill or _kill
        self._phase = ""
        self._calls: Counter[Fault] = Counter()
        self._lock = threading.Lock()

    def inject(self, pod: Pod) -> None:
        """Put proxies around every port of a pod, before its engine is made."""
        pod.journal = _Told(pod.journal, self)
        pod.control = _around(pod.control, "control", self, pod.abandon)
        if pod.sandbox is not None:
            pod.sandbox = _around(pod.sandbox, "sandbox", self, pod.abandon)
        make_driver, make_runtime, make_objects = pod.drivers, pod._runtime, pod.objects  # noqa: SLF001 - from outside

        def drivers(location: Any) -> Any:
            self.meet("driver", "make", (location.key,), pod.abandon)
            return _around(make_driver(location), "driver", self, pod.abandon)

        pod.drivers = drivers
        if make_runtime is not None:
            pod._runtime = lambda: _around(make_runtime(), "runtime", self, pod.abandon)  # noqa: SLF001
        if make_objects is not None:
            pod.objects = lambda: _around(make_objects(), "objects", self, pod.abandon)

    def entered(self, phase: str) -> None:
        """A phase begins."""
        self._phase = phase

    def meet(self, port: str, call: str, arguments: tuple[Any, ...], cancel: Cancel) -> list[Fault]:
        """Do what the plan says about a call that is about to be made; what remains is about its bytes.

        Raises:
            LifecycleError: the plan's.
        """
        damages = []
        for fault in self._due(port, call, arguments):
            if fault.kind in STREAMS:
                damages.append(fault)
            else:
                self._happen(fault, cancel)
        return damages

    def _due(self, port: str, call: str, arguments: tuple[Any, ...]) -> list[Fault]:
        with self._lock:
            due = []
            for fault in self._plan.faults:
                if not self._is_there(fault, port, call, arguments):
                    continue
                self._calls[fault] += 1
                place = self._calls[fault] - fault.nth
                if place >= 0 and (fault.times == ALWAYS or place < fault.times):
                    self.happened[fault] += 1
                    due.append(fault)
            return due

    def _is_there(self, fault: Fault, port: str, call: str, arguments: tuple[Any, ...]) -> bool:
        if fault.phase not in {self._phase, ANY} or fault.port not in {port, ANY} or fault.call not in {call, ANY}:
            return False
        return not fault.item or fault.item in _names(arguments)

    def _happen(self, fault: Fault, cancel: Cancel) -> None:
        seconds = fault.argument
        match fault.kind:
            case "delay":
                self._clock.sleep(1.0 if seconds is None else seconds, cancel)
            case "hang":
                self._clock.sleep(1e9, cancel)
            case "kill":
                self._kill()
            case "clock":
                jump = getattr(self._clock, "jump", None)
                if jump is not None:
                    jump(3600.0 if seconds is None else seconds)
            case _:
                name = ERRORS[fault.kind]
                message = f"injected: {fault}"
                raise Injected(message) if name == "RuntimeError" else getattr(errors, name)(message)


class _Told:
    """A journal that tells of the phase at hand."""

    def __init__(self, journal: Any, faults: Faults) -> None:
        self._journal = journal
        self._faults = faults

    def write(self, kind: str, **fields: Any) -> None:
        if kind == "enter":
            self._faults.entered(fields["phase"])
        self._journal.write(kind, **fields)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class _Proxy:
    """A port whose calls may go wrong."""

    def __init__(self, inner: Any, port: str, faults: Faults, cancel: Cancel) -> None:
        self._inner = inner
        self._port = port
        self._faults = faults
        self._cancel = cancel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = getattr(self._inner, name)
        damages = self._faults.meet(self._port, name, args, self._cancel)
        if not damages:
            return call(*args, **kwargs)
        if name == "save":
            key, stream, *rest = args
            return call(key, _damaged(stream, damages, rest[0] if rest else None), *rest, **kwargs)
        answer = call(*args, **kwargs)
        return _damaged(answer, damages, getattr(answer, "size", None)) if name in _STREAMING else answer


def _around(inner: Any, port: str, faults: Faults, cancel: Cancel) -> Any:
    """A proxy with the methods of what it is around: ``isinstance`` asks a class for them, from Python 3.12 on."""
    methods = {
        name: _method(name)
        for name in dir(inner)
        if not name.startswith("_") and callable(getattr(type(inner), name, None))
    }
    return type("Proxy", (_Proxy,), methods)(inner, port, faults, cancel)


def _method(name: str) -> Callable[..., Any]:
    def method(self: _Proxy, *args: Any, **kwargs: Any) -> Any:
        return self._call(name, args, kwargs)

    return method


def _damaged(stream: BinaryIO, damages: list[Fault], size: int | None) -> BinaryIO:
    for fault in damages:
        stream = cast("BinaryIO", Damaged(stream, fault, size))
    return stream


def _names(arguments: tuple[Any, ...]) -> set[str]:
    """What an item may be called by: that of its thread, and the ends of keys and paths, with suffix and without."""
    names = {threading.current_thread().name.rpartition(" ")[2]}
    for one in arguments:
        text = getattr(one, "name", one)
        if isinstance(text, str):
            last = text.rstrip("/").rpartition("/")[2]
            names |= {text, last, last.partition(".")[0]}
    return names


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    NEVER.wait(None)
