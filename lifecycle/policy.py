"""Retry policies as data, and the one place where they become tenacity.

A policy is printed into the diagrams, compared in tests and overridden by environment; tenacity's own objects can do
none of the three. The defaults of the originals are in spec 1.17 and 5.5; ours are in the table, :mod:`lifecycle.pod`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import tenacity

from lifecycle.errors import Cancelled, InputError, Transient, classify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lifecycle.clock import Cancel, Clock
    from lifecycle.errors import LifecycleError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how far apart, and for how long in all.

    Attributes:
        attempts: how many in all; ``None`` is without a cap.
        first: seconds before the second attempt.
        factor: what each wait is multiplied by for the next.
        cap: seconds no wait is longer than.
        jitter: up to this share is added to a wait at random (0.5: up to half as much again).
        budget: seconds for all attempts and waits together; a wait that would pass it is not begun.
    """

    attempts: int | None = 1
    first: float = 1.0
    factor: float = 1.6
    cap: float = 30.0
    jitter: float = 0.5
    budget: float | None = None

    def __str__(self) -> str:
        """As the diagrams print it, such as ``5 attempts, 1 s × 1.6 ≤ 30 s, 10 min in all``."""
        if self.attempts == 1:
            return "1 attempt"
        parts = [
            "no cap on attempts" if self.attempts is None else f"{self.attempts} attempts",
            f"{self.first:g} s × {self.factor:g} ≤ {self.cap:g} s",
        ]
        if self.budget is not None:
            parts.append(f"{self.budget / 60:g} min in all" if self.budget >= 60 else f"{self.budget:g} s in all")
        return ", ".join(parts)

    def wait_before(self, attempt: int, rng: random.Random, error: LifecycleError | None = None) -> float:
        """Seconds to wait before attempt number ``attempt``, from 2 on; a server's Retry-After wins if longer."""
        try:
            base = min(self.cap, self.first * self.factor ** (attempt - 2))
        except OverflowError:  # some thousand attempts without a cap: hours of an unreachable runtime
            base = self.cap
        wait = base * (1.0 + self.jitter * rng.random())
        asked = error.retry_after if isinstance(error, Transient) else None
        return max(wait, asked or 0.0)

    def overridden(self, environ: Mapping[str, str], phase: str) -> RetryPolicy:
        """This policy with what the environment says.

        ``EXECUTOR_RETRY_BACKOFF_STEPS|DURATION|FACTOR|JITTER`` (spec 5.8) change every policy that retries,
        ``ARGOEXEC_RETRY_<PHASE>_STEPS|DURATION|FACTOR|JITTER|CAP|BUDGET`` that of one phase. ``STEPS=0``: no cap.

        Raises:
            InputError: a value that is not a number, or not a Go duration.
        """
        policy = self
        name = phase.upper().replace(" ", "_").replace("-", "_")
        prefixes = [f"ARGOEXEC_RETRY_{name}_"]
        if self.attempts != 1:
            prefixes.insert(0, "EXECUTOR_RETRY_BACKOFF_")
        for prefix in prefixes:
            for key, (field, read) in _FIELDS.items():
                text = environ.get(prefix + key)
                if text:
                    try:
                        value = read(text)
                    except ValueError as error:
                        raise InputError(str(error), place=prefix + key) from error
                    policy = replace(policy, **{field: value})  # type: ignore[arg-type] # _FIELDS pairs them
        return policy


ONCE = RetryPolicy(attempts=1)


class Attempts:
    """The attempts of one item under one policy: calls, classifies, waits, tells.

    ``on_error`` is told of every failed attempt before the wait: the attempt's number, the error, and the seconds until
    the next one (``None`` when there is none). With ``insist`` the first attempt is made whatever the token says.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        clock: Clock,
        cancel: Cancel,
        *,
        on_error: Callable[[int, LifecycleError, float | None], None] = lambda *_: None,
        insist: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        self.policy = policy
        self.number = 0
        self._clock = clock
        self._cancel = cancel
        self._on_error = on_error
        self._insist = insist
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._began = clock.monotonic()

    def run(self, work: Callable[[], T]) -> T:
        """Call ``work`` until it returns, the policy ends, or somebody cancels.

        Raises:
            LifecycleError: the last attempt's, classified.
        """
        retrying = tenacity.Retrying(
            stop=lambda state: self._next_wait(state) is None,
            wait=lambda state: self._next_wait(state) or 0.0,
            # tenacity's interrupted sleep is followed by one more attempt; ours raises the reason instead.
            sleep=lambda seconds: self._clock.sleep(float(seconds), self._cancel),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Transient)),
            after=self._tell,
            reraise=True,
        )
        value: T = retrying(self._attempt, work)
        return value

    def _attempt(self, work: Callable[[], T]) -> T:
        if self.number or not self._insist:
            self._cancel.check()
        self.number += 1
        self._planned: float | None = None
        self._decided = False
        try:
            return work()
        except Cancelled:
            raise
        except Exception as error:
            known = classify(error)
            if not isinstance(known, Transient):
                self._on_error(self.number, known, None)
            if known is error:
                raise
            raise known from error

    def _next_wait(self, state: tenacity.RetryCallState) -> float | None:
        """Look ahead: seconds until the next attempt, or ``None`` when it would pass the policy."""
        if not self._decided:
            self._decided = True
            error = state.outcome.exception() if state.outcome else None
            wait = self.policy.wait_before(self.number + 1, self._rng, error if isinstance(error, Transient) else None)
            spent = self._clock.monotonic() - self._began
            out_of_attempts = self.policy.attempts is not None and self.number >= self.policy.attempts
            out_of_budget = self.policy.budget is not None and spent + wait > self.policy.budget
            self._planned = None if out_of_attempts or out_of_budget else wait
        return self._planned

    def _tell(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Transient):
            self._on_error(self.number, error, self._next_wait(state))


_GO_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``1m30s``; a bare number is seconds.

    Raises:
        ValueError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 10s or 1m30s")
    return sum(float(number) * _GO_UNITS[unit] for number, unit in parts)


def _steps(text: str) -> int | None:
    number = int(text)
    return None if number == 0 else number


_FIELDS: dict[str, tuple[str, Callable[[str], float | int | None]]] = {
    "STEPS": ("attempts", _steps),
    "DURATION": ("first", parse_duration),
    "FACTOR": ("factor", float),
    "JITTER": ("jitter", float),
    "CAP": ("cap", parse_duration),
    "BUDGET": ("budget", parse_duration),
}
