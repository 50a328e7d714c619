"""Policies are data; tenacity runs them by the injected clock and a token that cancels."""

import random

import pytest

from lifecycle.clock import Cancel, VirtualClock, terminated
from lifecycle.errors import InputError, NotFound, Terminated, Throttled, Unavailable
from lifecycle.policy import Attempts, RetryPolicy, parse_duration

FLAT = RetryPolicy(attempts=5, first=1.0, factor=2.0, cap=3.0, jitter=0.0)


def failing(times, error=None):
    calls = []

    def work():
        calls.append(None)
        if len(calls) <= times:
            raise error or Unavailable("down")
        return len(calls)

    work.calls = calls
    return work


def attempts(policy, clock=None, cancel=None, **more):
    return Attempts(policy, clock or VirtualClock(), cancel or Cancel(), **more)


def test_a_transient_error_is_tried_again_with_growing_waits_up_to_the_cap():
    clock, seen = VirtualClock(), []

    value = attempts(FLAT, clock, on_error=lambda n, e, wait: seen.append((n, wait))).run(failing(4))

    assert value == 5
    assert seen == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0)]
    assert clock.monotonic() == 9.0


def test_the_last_attempts_error_is_raised_and_has_no_wait():
    seen = []
    with pytest.raises(Unavailable, match="down"):
        attempts(FLAT, on_error=lambda n, e, wait: seen.append((n, wait))).run(failing(99))

    assert seen[-1] == (5, None)


def test_a_permanent_error_ends_at_the_first_attempt():
    work = failing(99, NotFound("no such key"))
    seen = []
    with pytest.raises(NotFound):
        attempts(FLAT, on_error=lambda n, e, wait: seen.append((n, wait))).run(work)

    assert (len(work.calls), seen) == (1, [(1, None)])


def test_a_wait_that_would_pass_the_budget_is_not_begun():
    clock = VirtualClock()
    policy = RetryPolicy(attempts=None, first=1.0, factor=2.0, cap=60.0, jitter=0.0, budget=10.0)
    with pytest.raises(Unavailable):
        attempts(policy, clock).run(failing(99))

    assert clock.monotonic() == 7.0  # 1 + 2 + 4; eight more would be 15


def test_a_server_that_names_a_time_is_obeyed():
    clock = VirtualClock()
    attempts(FLAT, clock).run(failing(1, Throttled("slow down", retry_after=17.0)))

    assert clock.monotonic() == 17.0


def test_a_wish_to_stop_ends_the_wait_without_another_attempt():
    clock, cancel = VirtualClock(), Cancel()
    work = failing(99)

    def stop():
        clock.sleep(1.5, Cancel())
        cancel.set(terminated())

    clock.start(stop, "stop")
    with pytest.raises(Terminated):
        attempts(FLAT, clock, cancel).run(work)

    assert len(work.calls) == 2


def test_a_wish_to_stop_before_the_first_attempt_makes_none():
    cancel = Cancel()
    cancel.set(terminated())
    work = failing(0)
    with pytest.raises(Terminated):
        attempts(FLAT, cancel=cancel).run(work)

    assert work.calls == []


def test_an_error_of_the_kernel_is_classified_by_its_errno():
    work = failing(2, ConnectionResetError(104, "Connection reset by peer"))

    assert attempts(FLAT).run(work) == 3


def test_an_unknown_exception_is_not_tried_again_and_keeps_its_cause():
    with pytest.raises(Exception, match="TypeError: 'int'") as error:
        attempts(FLAT).run(failing(99, TypeError("'int' object")))

    assert isinstance(error.value.__cause__, TypeError)


def test_jitter_adds_up_to_its_share():
    policy = RetryPolicy(attempts=9, first=1.0, factor=1.0, cap=1.0, jitter=0.5)
    waits = [policy.wait_before(2, random.Random(seed)) for seed in range(200)]

    assert 1.0 <= min(waits) < 1.1
    assert 1.4 < max(waits) <= 1.5


def test_the_environment_overrides_every_policy_that_retries_and_one_phase_in_particular():
    environ = {"EXECUTOR_RETRY_BACKOFF_STEPS": "3", "ARGOEXEC_RETRY_SAVING_DURATION": "1m30s"}

    assert FLAT.overridden(environ, "saving") == RetryPolicy(3, 90.0, 2.0, 3.0, 0.0)
    assert RetryPolicy().overridden(environ, "staging") == RetryPolicy()


def test_a_phase_of_two_words_is_named_with_an_underscore():
    assert FLAT.overridden({"ARGOEXEC_RETRY_KILLING_SIDECARS_STEPS": "0"}, "killing sidecars").attempts is None


@pytest.mark.parametrize(("name", "value"), [("STEPS", "many"), ("DURATION", "soon"), ("FACTOR", "1,5")])
def test_a_bad_value_in_the_environment_names_its_variable(name, value):
    with pytest.raises(InputError, match=f"EXECUTOR_RETRY_BACKOFF_{name}: "):
        FLAT.overridden({f"EXECUTOR_RETRY_BACKOFF_{name}": value}, "saving")


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1.0), ("1m30s", 90.0), ("250ms", 0.25), ("2", 2.0), ("1h0.5s", 3600.5)]
)
def test_go_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1x", "1s2", "1 s"])
def test_what_is_no_go_duration(text):
    with pytest.raises(ValueError):
        parse_duration(text)


def test_a_policy_prints_itself_for_the_diagrams():
    assert str(RetryPolicy()) == "1 attempt"
    assert str(RetryPolicy(5, budget=600.0)) == "5 attempts, 1 s × 1.6 ≤ 30 s, 10 min in all"


def test_thousands_of_attempts_do_not_overflow():
    assert RetryPolicy(None, jitter=0.0).wait_before(100_000, random.Random(1)) == 30.0


def test_one_attempt_can_be_insisted_on_although_everything_was_abandoned():
    cancel = Cancel()
    cancel.set(terminated())

    assert attempts(FLAT, cancel=cancel, insist=True).run(failing(0)) == 1
    with pytest.raises(Terminated):
        attempts(FLAT, cancel=cancel, insist=True).run(failing(1))
