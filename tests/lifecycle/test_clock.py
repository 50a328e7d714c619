"""Time that only passes when everybody waits."""

import os
import select

import pytest

from lifecycle.clock import Cancel, SystemClock, VirtualClock, deadline_exceeded, terminated
from lifecycle.errors import Terminated


def test_virtual_sleeps_take_no_time_and_end_in_order():
    clock, seen = VirtualClock(), []
    done = clock.inbox()

    def sleeper(seconds):
        def body():
            clock.sleep(seconds, Cancel())
            seen.append((seconds, clock.monotonic()))
            done.put(seconds)

        return body

    for seconds in (5.0, 1.0, 3.0):
        clock.start(sleeper(seconds), str(seconds))
    for _ in range(3):
        done.get(None)

    assert seen == [(1.0, 1.0), (3.0, 3.0), (5.0, 5.0)]


def test_an_event_in_an_inbox_ends_its_wait_before_time_passes():
    clock = VirtualClock()
    inbox = clock.inbox()

    def put():
        clock.sleep(2.0, Cancel())
        inbox.put("event")

    clock.start(put, "put")

    assert inbox.get(100.0) == "event"
    assert clock.monotonic() == 2.0
    assert inbox.get(1.0) is None
    assert clock.monotonic() == 3.0


def test_a_hang_is_an_error_with_a_place():
    clock = VirtualClock()
    with pytest.raises(RuntimeError, match="hang for ever"):
        clock.inbox().get(None)


@pytest.mark.parametrize("clock", [VirtualClock(), SystemClock()])
def test_a_token_that_is_set_ends_a_sleep_at_once(clock):
    cancel = Cancel()
    cancel.set(terminated("enough"))
    with pytest.raises(Terminated, match="enough"):
        clock.sleep(1000.0, cancel)


def test_the_first_reason_stays():
    cancel = Cancel()
    cancel.set(terminated("first"))
    cancel.set(deadline_exceeded())

    assert str(cancel.reason) == "first"


@pytest.mark.parametrize("before", [True, False])
def test_a_token_can_be_polled_whether_set_before_or_after(before):
    cancel = Cancel()
    if before:
        cancel.set(terminated())
    descriptor = cancel.fileno()
    if not before:
        assert select.select([descriptor], [], [], 0)[0] == []
        cancel.set(terminated())

    assert select.select([descriptor], [], [], 0)[0] == [descriptor]
    assert os.get_inheritable(descriptor) is False


def test_who_listens_for_a_while_is_not_called_later():
    cancel, called = Cancel(), []
    with cancel.listening(lambda: called.append("over")):
        pass
    with cancel.listening(lambda: called.append("while")):
        cancel.set(terminated())
    with cancel.listening(lambda: called.append("late")):
        pass

    assert called == ["while", "late"]


def test_a_listener_is_called_once_also_when_it_comes_late():
    cancel, calls = Cancel(), []
    cancel.listen(lambda: calls.append("early"))
    cancel.set(terminated())
    cancel.listen(lambda: calls.append("late"))

    assert calls == ["early", "late"]
