"""A plan at work: proxies around the ports that a pod was given, of which nobody else knows."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from lifecycle import errors
from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.faults.jumping import JumpingClock
from lifecycle.faults.kinds import ERRORS, GIVES, LISTS, TAKES
from lifecycle.faults.plan import ALWAYS, ANY, PORTS
from lifecycle.faults.streams import Damaged, full, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.clock import Clock
    from lifecycle.context import Pod
    from lifecycle.faults.plan import Fault, Plan

_JUMP = 3600.0
_DELAY = 1.0
_FOR_EVER = 1e9


class Injected(Exception):
    """A defect of ours, made on purpose."""


class Faults:
    """The faults of one run, and what has come of them.

    Attributes:
        plan: what goes wrong where.
        happened: how often each fault has happened.
        clock: what the pod must be given instead of its clock, so that it can jump.
    """

    def __init__(self, plan: Plan, clock: Clock, *, kill: Callable[[], None] | None = None) -> None:
        """Take a plan.

        Args:
            plan: what goes wrong where.
            clock: of the pod; its waits end a delay.
            kill: instead of this process's end, in a test.
        """
        self.plan = plan
        self.happened: Counter[Fault] = Counter()
        self.clock = JumpingClock(clock)
        self._kill = kill or _kill
        self._phase = ""
        self._calls: Counter[Fault] = Counter()
        self._lock = threading.Lock()
        self._over = Cancel()

    def inject(self, pod: Pod) -> None:
        """Put proxies around every port of a pod, before its engine is made."""
        pod.clock = self.clock
        pod.journal = _Told(pod.journal, self)
        pod.files = self.around(pod.files, "files", pod.abandon)
        pod.control = self.around(pod.control, "control", pod.abandon)
        if pod.sandbox is not None:
            pod.sandbox = self.around(pod.sandbox, "sandbox", pod.abandon)
        make_driver, make_runtime, make_objects = pod.drivers, pod._runtime, pod.objects  # noqa: SLF001 - from outside

        def drivers(location: Any) -> Any:
            return made(lambda: make_driver(location), "driver", location.key)

        def made(make: Callable[[], Any], port: str, *arguments: str) -> Any:
            after = self.meet(port, "make", arguments, pod.abandon)
            adapter = self.around(make(), port, pod.abandon)
            _lose(after, adapter)
            return adapter

        pod.drivers = drivers
        if make_runtime is not None:
            pod._runtime = lambda: made(make_runtime, "runtime")  # noqa: SLF001
        if make_objects is not None:
            pod.objects = lambda: made(make_objects, "objects")

    def around(self, inner: Any, port: str, cancel: Cancel = NEVER) -> Any:
        """A proxy around a port whose calls may go wrong; ``cancel`` ends its delays and what hangs."""
        return _proxy_class(type(inner), port)(inner, port, self, cancel)  # type: ignore[arg-type] # a class has a hash

    def close(self) -> None:
        """Nothing hangs any more."""
        self._over.set(terminated("the faults are over"))

    def entered(self, phase: str) -> None:
        """A phase begins."""
        self._phase = phase

    def meet(self, port: str, call: str, arguments: tuple[Any, ...], cancel: Cancel) -> list[Fault]:
        """Do what the plan says about a call that is about to be made; what remains is about its bytes, or its answer.

        Raises:
            LifecycleError, OSError, Injected: the plan's.
        """
        damages = []
        for fault in self._due(port, call, arguments):
            if fault.in_bytes or fault.kind == "lost":
                damages.append(fault)
            else:
                self._happen(fault, next((one for one in arguments if isinstance(one, Cancel)), cancel))
        return damages

    def _due(self, port: str, call: str, arguments: tuple[Any, ...]) -> list[Fault]:
        with self._lock:
            due = []
            for fault in self.plan.faults:
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
        if fault.in_bytes and call not in GIVES | TAKES | LISTS:
            return False
        return not fault.item or fault.item in _names(arguments)

    def _happen(self, fault: Fault, cancel: Cancel) -> None:
        message, argument = f"injected: {fault}", fault.argument
        match fault.kind:
            case "delay":
                self.clock.sleep(_DELAY if argument is None else argument, cancel)
            case "hang":
                self.clock.sleep(_FOR_EVER, _either(cancel, self._over))
            case "kill":
                self._kill()
            case "clock":
                self.clock.jump(_JUMP if argument is None else argument)
            case "disk-full":
                raise full(fault)
            case "defect":
                raise Injected(message)
            case _:
                raise getattr(errors, ERRORS[fault.kind])(message)


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
        damages = self._faults.meet(self._port, name, (*args, *kwargs.values()), self._cancel)
        if damages and name in TAKES:
            key, stream, *rest = args
            args = (key, _damaged(stream, damages, None), *rest)
        answer = call(*args, **kwargs)
        _lose(damages, answer)
        for fault in damages if name in LISTS else ():
            answer = listed(answer, fault)
        return _damaged(answer, damages, getattr(answer, "size", None)) if name in GIVES else answer


@cache
def _proxy_class(inner: type, port: str) -> type[_Proxy]:
    """With the calls of what it is around: ``isinstance`` asks a class for them, from Python 3.12 on."""
    methods: dict[str, Any] = {}
    for name in PORTS[port]:
        found = inspect.getattr_static(inner, name, None)
        if callable(found):
            methods[name] = _method(name)
        elif found is not None or port in {"files", "control"}:  # what is a property there may be an attribute
            methods[name] = _property(name)
    return type(f"Faulty{inner.__name__}", (_Proxy,), methods)


def _method(name: str) -> Callable[..., Any]:
    def method(self: _Proxy, *args: Any, **kwargs: Any) -> Any:
        return self._call(name, args, kwargs)

    return method


def _property(name: str) -> property:
    def get(self: _Proxy) -> Any:
        after = self._faults.meet(self._port, name, (), self._cancel)
        answer = getattr(self._inner, name)
        _lose(after, answer)
        return answer

    return property(get)


def _lose(faults: list[Fault], answer: Any) -> None:
    """Nobody gets the answer, so nobody else would close it.

    Raises:
        Unavailable: one of the faults is a lost answer.
    """
    for fault in faults:
        if fault.kind == "lost":
            if close := getattr(answer, "close", None):
                close()
            raise errors.Unavailable(f"injected: {fault}")


def _damaged(stream: BinaryIO, damages: list[Fault], size: int | None) -> BinaryIO:
    for fault in damages:
        if fault.in_bytes:
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


def _either(one: Cancel, other: Cancel) -> Cancel:
    """Set as soon as one of the two is."""
    both = Cancel()
    for token in (one, other):
        token.listen(lambda token=token: both.set(token.reason or terminated()))  # type: ignore[misc]
    return both


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    NEVER.wait(None)
