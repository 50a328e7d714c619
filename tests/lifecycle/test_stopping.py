"""Signals that come before there is a pod, and those that come after."""

import signal
import threading

import pytest

from lifecycle.context import ControlChanged, Stop
from lifecycle.stopping import handle_signals, held_back
from tests.fakes import World


@pytest.fixture
def pod(tmp_path):
    return World(tmp_path, {"name": "t", "container": {}}).pod


def send(number):
    """To the one thread whose signals are held back: another of the test's own process would take it and die."""
    signal.pthread_kill(threading.main_thread().ident, number)


def test_a_sigusr2_that_comes_before_there_is_a_pod_is_heard_when_there_is_one(pod):
    with held_back() as release:
        send(signal.SIGUSR2)
        send(signal.SIGUSR2)
        with handle_signals(pod):
            release()
            assert isinstance(pod.inbox.get(10.0), ControlChanged)


def test_a_sigterm_that_comes_before_there_is_a_pod_is_its_first_wish(pod):
    with held_back() as release:
        send(signal.SIGTERM)
        with handle_signals(pod):
            assert pod.stops == 0
            release()
            event = pod.inbox.get(10.0)
    assert isinstance(event, Stop)
    assert event.reason.message == "terminated by SIGTERM"
    assert pod.stops == 1


def test_nothing_is_held_back_afterwards():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with held_back():
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
