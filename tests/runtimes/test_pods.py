"""The watch of one pod: what it makes of a server's answers. The server is scripted; back-offs are told, not waited."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.errors import Forbidden, MainNotStarted, NotFound, Terminated, Unauthorized
from lifecycle.ports import ExitStatus
from runtimes import credentials, objectwatch
from runtimes.pods import PodState, PodWatch, await_main, ended
from tests.runtimes import apiserver_by_script as script
from tests.runtimes.apiserver_by_script import (
    POD,
    RUNNING,
    account,
    api_of,
    event,
    found,
    pod,
    refused,
    waiting,
    watch,
)
from tests.servers.httpd import Answer, Httpd

SEEN = found(pod("1", waiting("ContainerCreating")))


class Pauses:
    """The back-offs there were; after so many the watch stands still, for good."""

    def __init__(self, limit: int) -> None:
        self.seconds: list[float] = []
        self._limit = limit
        self._over = False
        self._changed = threading.Condition()

    def stop(self) -> None:
        """The watch that uses them has ended."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def __call__(self, seconds: float) -> None:
        with self._changed:
            self.seconds.append(seconds)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over or len(self.seconds) < self._limit)

    def await_all(self) -> list[float]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seconds) >= self._limit, 30)
            return self.seconds


@pytest.fixture
def server(certificate, tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account(tmp_path / "account", certificate))
    with Httpd(certificate) as one:
        yield one
        one.await_hanging()
        for watched, pauses in _watches:
            watched.close()
            pauses.stop()
            script.over(watched)
        _watches.clear()


_watches: list[tuple[PodWatch, Pauses]] = []


def watching(server: Httpd, pauses: Pauses | None = None) -> PodWatch:
    pauses = pauses or Pauses(limit=50)
    _watches.append((PodWatch(api_of(server), "p", pauses), pauses))
    return _watches[-1][0]


def events(*of: bytes, hangs: bool = False, **answer) -> Answer:
    """A watch that tells these; what ends it is the server, unless it hangs."""
    return Answer(200, b"".join(of), length=-1, hangs=hangs, **answer)


def code(state: PodState) -> ExitStatus | None:
    return ended(state, "main")


def test_a_wait_ends_by_the_event_that_makes_it_true(server):
    server.on(POD, SEEN)
    server.on(watch(), events(
        event("ADDED", pod("2", RUNNING)), event("MODIFIED", pod("3", script.ended(137, "OOMKilled"))), hangs=True,
    ))  # fmt: skip

    assert watching(server).wait_for(code, NEVER) == ExitStatus(137, "OOMKilled")


@pytest.mark.parametrize(("reason", "told"), [("Completed", ""), ("Error", ""), ("ContainerCannotRun",) * 2])
def test_only_what_is_out_of_the_ordinary_is_a_reason(server, reason, told):
    server.on(POD, found(pod("1", script.ended(1, reason))))
    server.on(watch(), events(hangs=True))

    assert watching(server).wait_for(code, NEVER) == ExitStatus(1, told)


def test_one_watch_serves_all_who_wait(server):
    server.on(POD, SEEN)
    server.on(watch(), events(event("MODIFIED", pod("2", RUNNING)), hangs=True))
    one, seen = watching(server), []
    waiters = [threading.Thread(target=lambda: seen.append(one.await_main(NEVER).phase), daemon=True) for _ in range(5)]
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        waiter.join(30)

    assert seen == ["running"] * 5
    assert server.asked[watch()] == 1


def test_a_watch_that_closes_goes_on_where_it_was(server):
    server.on(POD, SEEN)
    server.on(watch(), events(event("ADDED", pod("2", RUNNING))))
    server.on(watch("2"), events(event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})))
    server.on(watch("9"), events(event("MODIFIED", pod("10", script.ended(3))), hangs=True))

    assert watching(server).wait_for(code, NEVER) == ExitStatus(3)
    assert server.asked[POD] == 2  # before the watch is opened, and after


def test_a_pod_that_is_deleted_before_the_server_watches_is_the_end(server):
    """The watch of what is not there tells nothing, for as long as it is open."""
    server.on(POD, SEEN, refused(404, "NotFound", 'pods "p" not found'))
    server.on(watch(), events(hangs=True))

    with pytest.raises(NotFound, match='pods "p" not found'):
        watching(server).wait_for(code, NEVER)


def test_what_a_cache_tells_of_before_is_passed_over(server):
    server.on(POD, found(pod("7", RUNNING)))
    server.on(watch(), events(
        event("ADDED", pod("3", script.ended(1))), event("MODIFIED", pod("8", script.ended(2))), hangs=True,
    ))  # fmt: skip

    assert watching(server).wait_for(code, NEVER) == ExitStatus(2)


@pytest.mark.parametrize("answer", [events(), events(event("ADDED", pod("1", RUNNING)))], ids=["silent", "telling"])
def test_a_watch_that_closes_at_once_is_opened_less_and_less_often(server, answer):
    server.on(POD, SEEN)
    server.on(watch(), answer)
    server.on(watch("1"), answer)
    pauses, cancel = Pauses(limit=9), Cancel()
    waiter = threading.Thread(target=_cancelled, args=[watching(server, pauses), cancel], daemon=True)
    waiter.start()
    seconds = pauses.await_all()
    cancel.set(terminated())
    waiter.join(30)

    assert all(later > sooner for sooner, later in pairwise(seconds[:7]))
    assert seconds[0] >= 0.5
    assert max(seconds) <= 36
    assert server.asked[watch()] + server.asked[watch("1")] == len(seconds)


def _cancelled(one: PodWatch, cancel: Cancel) -> None:
    with pytest.raises(Terminated):
        one.wait_for(code, cancel)


@pytest.mark.parametrize(
    "gone",
    [
        refused(410, "Expired", "too old resource version"),
        events(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})),
        events(event("ERROR", {"kind": "Status", "code": 500, "message": "etcd has lost its way"})),
    ],
    ids=["status", "event", "another error"],
)
def test_a_version_that_is_too_old_is_given_up(server, gone):
    server.on(POD, SEEN, SEEN, found(pod("7", script.ended(4))))
    server.on(watch(), events(event("ADDED", pod("2", RUNNING))), events(hangs=True))
    server.on(watch("2"), gone)

    assert watching(server).wait_for(code, NEVER) == ExitStatus(4)
    assert server.asked[watch("2")] == 1
    assert server.asked[POD] in {3, 4}  # the last one when the new watch is open


@pytest.mark.parametrize("length", [-1, 10_000], ids=["end", "cut"])
def test_half_an_event_at_the_end_is_not_the_end_of_the_wait(server, length):
    whole = event("MODIFIED", pod("3", script.ended(5)))
    server.on(POD, SEEN)
    server.on(watch(), Answer(200, event("ADDED", pod("2", RUNNING)) + whole[: len(whole) // 2], length=length))
    server.on(watch("2"), events(whole, hangs=True))

    assert watching(server).wait_for(code, NEVER) == ExitStatus(5)


def test_a_server_that_is_away_is_waited_for(server):
    server.on(POD, Answer(503, b""), Answer(429, b"", {"Retry-After": "1"}), SEEN)
    server.on(watch(), Answer(500, b""), events(event("ADDED", pod("2", script.ended(6))), hangs=True))

    assert watching(server).wait_for(code, NEVER) == ExitStatus(6)


def test_a_connection_that_is_refused_is_tried_again(server, certificate):
    with Httpd(certificate) as gone:
        one = PodWatch(api_of(gone), "p", pauses := Pauses(limit=2))
    waiter = threading.Thread(target=one.wait_for, args=[code, NEVER], daemon=True)
    waiter.start()

    assert len(pauses.await_all()) == 2


@pytest.mark.parametrize(("status", "error"), [(401, Unauthorized), (403, Forbidden)])
def test_who_may_not_watch_is_told_each_time_he_asks(server, status, error):
    server.on(POD, SEEN)
    server.on(watch(), refused(status, "", "no"))
    one = watching(server)
    for _ in range(2):
        with pytest.raises(error):
            one.wait_for(code, NEVER)

    assert server.asked[watch()] == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_a_server_that_was_watched_may_pass(server, status):
    server.on(POD, SEEN)
    server.on(watch(), events(event("MODIFIED", pod("2", RUNNING))))
    server.on(watch("2"), refused(status, "", "no roles yet"), events(event("MODIFIED", pod("3", script.ended(0)))))
    server.on(watch("3"), events(hangs=True))

    assert watching(server, pauses := Pauses(limit=50)).wait_for(code, NEVER) == ExitStatus(0)
    assert len(pauses.seconds) >= 2


def test_a_refusal_that_stays_is_told(server, monkeypatch):
    monkeypatch.setattr(objectwatch, "_DOUBT", 0.0)
    server.on(POD, SEEN)
    server.on(watch(), events(event("MODIFIED", pod("2", RUNNING))))
    server.on(watch("2"), refused(403, "Forbidden", "no more"))

    with pytest.raises(Forbidden, match="no more"):
        watching(server).wait_for(code, NEVER)


def test_a_missing_permission_to_watch_is_named(server):
    server.on(POD, SEEN)
    server.on(watch(), refused(403, "Forbidden", "no"))

    with pytest.raises(Forbidden) as caught:
        watching(server).wait_for(code, NEVER)
    assert "grant `watch` on `pods`" in caught.value.remedy


def test_a_pod_that_is_not_there_is_not_waited_for(server):
    server.on(POD, refused(404, "NotFound", 'pods "p" not found'))

    with pytest.raises(NotFound, match='pods "p" not found'):
        watching(server).wait_for(code, NEVER)


def test_a_pod_that_is_deleted_is_the_end(server):
    server.on(POD, SEEN)
    server.on(watch(), events(event("DELETED", pod("2", RUNNING)), hangs=True))

    with pytest.raises(NotFound, match="has been deleted"):
        watching(server).wait_for(code, NEVER)


def test_the_last_word_of_a_deleted_pod_counts(server):
    server.on(POD, SEEN)
    server.on(watch(), events(event("DELETED", pod("2", script.ended(143))), hangs=True))

    assert watching(server).wait_for(code, NEVER) == ExitStatus(143)


def test_a_wait_ends_by_its_time_out(server):
    server.on(POD, SEEN)
    server.on(watch(), events(hangs=True))

    assert watching(server).wait_for(code, NEVER, 0.01) is None


def test_a_wait_that_is_cancelled_leaves_the_others_waiting(server):
    server.on(POD, SEEN)
    server.on(watch(), events(hangs=True))
    one, cancel = watching(server), Cancel()
    threading.Timer(0.01, cancel.set, [terminated()]).start()

    with pytest.raises(Terminated):
        one.wait_for(code, cancel)
    assert one.wait_for(lambda state: state.container("main"), NEVER) is not None


def test_waiting_again_and_again_leaves_no_listener(server):
    server.on(POD, SEEN)
    server.on(watch(), events(hangs=True))
    one, cancel = watching(server), Cancel()
    for _ in range(20):
        one.wait_for(code, cancel, 0)

    assert cancel._listeners == []


def test_a_container_that_the_pod_does_not_have_is_not_found(server):
    server.on(POD, SEEN)
    server.on(watch(), events(hangs=True))

    with pytest.raises(NotFound, match="side"):
        watching(server).wait_for(lambda state: ended(state, "side"), NEVER)


# --- main that does not start -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["ErrImageNeverPull", "InvalidImageName"])
def test_an_image_that_nobody_will_pull_is_told_at_once(server, reason):
    server.on(POD, found(pod("1", waiting(reason, "Container image is not present"))))
    server.on(watch(), events(hangs=True))

    with pytest.raises(MainNotStarted, match=f"{reason}: Container image is not present") as caught:
        watching(server).await_main(NEVER)
    assert "image" in caught.value.remedy


def test_an_image_that_cannot_be_pulled_is_told_when_patience_ends(server):
    server.on(POD, SEEN)
    server.on(watch(), events(
        event("MODIFIED", pod("2", waiting("ErrImagePull", "no such host"))),
        event("MODIFIED", pod("3", waiting("ImagePullBackOff", "Back-off pulling"))), hangs=True,
    ))  # fmt: skip

    with pytest.raises(MainNotStarted, match=r"\(for 0 s\)"):
        watching(server).await_main(NEVER, patience=0.05)


def test_an_image_that_is_pulled_in_the_end_is_no_failure(server):
    server.on(POD, found(pod("1", waiting("ErrImagePull"))))
    server.on(watch(), events(event("MODIFIED", pod("2", waiting("ImagePullBackOff")))))
    server.on(watch("2"), events(event("MODIFIED", pod("3", RUNNING)), hangs=True))

    assert watching(server).await_main(NEVER).phase == "running"


class Told:
    """A pod that is in one state after another: each wait that runs into its time-out brings the next."""

    def __init__(self, *states: PodState) -> None:
        self.states = list(states)
        self.timeouts: list[float | None] = []

    def wait_for(self, test, cancel, timeout=None):
        """One look, then the time-out."""
        self.timeouts.append(timeout)
        return test(self.states.pop(0))

    def get(self) -> PodState:
        raise NotImplementedError


def test_patience_begins_anew_when_the_reason_has_passed():
    stuck, fine = PodState(pod("1", waiting("ErrImagePull"))), PodState(pod("2", waiting("ContainerCreating")))
    told = Told(stuck, fine, stuck, PodState(pod("3", RUNNING)))

    assert await_main(told, NEVER, 600).phase == "running"
    first, second, third, fourth = told.timeouts
    assert first == third == 600
    assert second is not None
    assert fourth is not None
    assert second < 600
    assert fourth < 600


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "low on memory"),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        ({"phase": "Succeeded"}, "the pod has ended"),
    ],
)  # fmt: skip
def test_a_pod_that_has_ended_without_main_says_why(server, status, message):
    server.on(POD, found(pod("1", **status)))
    server.on(watch(), events(hangs=True))

    with pytest.raises(MainNotStarted, match=message):
        watching(server).await_main(NEVER)


def test_a_main_that_has_ended_already_is_found(server):
    server.on(POD, found(pod("1", script.ended(0), phase="Succeeded")))
    server.on(watch(), events(hangs=True))

    main = watching(server).await_main(NEVER)
    assert (main.name, main.id, main.phase) == ("main", "abc", "terminated")
