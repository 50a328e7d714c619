"""A real store that stops, dies and comes back in mid-transfer, and a network that is cut: all of it real.

Each test has a SeaweedFS of its own in a network of its own. The kernel counts what goes between the two and cuts the
way after so many bytes, which is how "in mid-transfer" is known; what is to come of it is awaited by the program's log.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.network import AWAY
from lifecycle.pod import LOADING, SAVING
from tests.e2e.conftest import Program
from tests.servers import apart
from tests.servers.apart import DROPPED, REFUSED, Way
from tests.servers.seaweedfs import SeaweedFS, binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import ControlledPod

pytestmark = [pytest.mark.sandbox, pytest.mark.root, pytest.mark.server("seaweedfs"), pytest.mark.slow]

MIB = 1 << 20
DATA = os.urandom(MIB) * 40
"""Five parts of an upload."""
MIDST = 12 * MIB
"""Bytes that go before the fault: some parts are whole, others are not."""
SOON = {"EXECUTOR_RETRY_BACKOFF_DURATION": "200ms", "EXECUTOR_RETRY_BACKOFF_STEPS": "20"}
"""Attempts enough for a server that takes seconds to come back."""
TWICE = SOON | {"EXECUTOR_RETRY_BACKOFF_STEPS": "2"}
BUDGET = (
    SOON
    | {"EXECUTOR_RETRY_BACKOFF_STEPS": "0"}
    | {f"ARGOEXEC_RETRY_{phase.upper()}_BUDGET": "3s" for phase in (LOADING, SAVING)}
)
AGAIN = "again in"
"""What the log says of an attempt that has failed and is not the last."""


class Impatient(Program):
    """One that waits 2 s for a silent store."""

    module = "tests.e2e.impatient"


@pytest.fixture
def program_type() -> type[Program]:
    return Impatient


class Store:
    """A SeaweedFS of the test's own, and the way to it."""

    def __init__(self, server: SeaweedFS, way: Way) -> None:
        self.server = server
        self.way = way
        self.client = server.client()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.server.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.server.bucket, Key=key)["Body"].read()

    def keys(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.server.bucket).get("Contents", [])]

    def uploads(self) -> list[str]:
        """Those that nobody has ended."""
        return [one["Key"] for one in self.client.list_multipart_uploads(Bucket=self.server.bucket).get("Uploads", [])]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    binary()
    with apart.network(), SeaweedFS.started(tmp_path / "seaweedfs") as server:
        way = Way(int(server.endpoint.rpartition(":")[2]), tmp_path / "nft.log")
        store = Store(server, way)
        yield store
        store.client.close()
        way.close()


class Transfer:
    """A pod whose one artifact is loaded by `init`, or saved by `wait`."""

    def __init__(self, verb: str, pod: ControlledPod, store: Store) -> None:
        self.phase = {"load": LOADING, "save": SAVING}[verb]
        self.item = {"load": "input a", "save": "artifact a"}[verb]
        self.command = {"load": "init", "save": "wait"}[verb]
        self.pod = pod
        self.store = store
        location = {"s3": store.server.location(pod.secrets) | {"key": "a"}}
        artifact = {"name": "a", "archive": {"none": {}}, **location}
        main = {"command": ["sh", "-c", "cat /v/made > /v/a"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        if verb == "load":
            store.put("a", DATA)
            pod.lay_out(inputs={"artifacts": [artifact | {"path": "/in/a"}]}, container=main)
        else:
            pod.lay_out(
                outputs={
                    "artifacts": [artifact | {"path": "/v/a"}],
                    "parameters": [{"name": "p", "valueFrom": {"path": "/v/p"}}],
                },
                container=main,
            )
            (pod.volume("v") / "made").write_bytes(DATA)
            (pod.volume("v") / "p").write_text("kept\n")
            pod.start_main()

    def start(self, **environ: str) -> Program:
        return self.pod._program(self.command, "--loglevel", "debug", **environ)

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Those that failed, as the journal has them."""
        lines = self.pod.journal(self.command)
        return [one for one in lines if one["kind"] == "attempt" and one["item"] == self.item]

    @property
    def counted(self) -> int:
        """How many were made in all, as the journal says of the item in the end."""
        lines = self.pod.journal(self.command)
        return [one for one in lines if one["kind"] == "item" and one["item"]["name"] == "a"][-1]["item"]["attempts"]

    def check(self) -> None:
        """It has succeeded: what came is what was sent, once, and nothing half is left."""
        assert dict(self.pod.way(self.command))[self.phase] == "done"
        assert self.store.uploads() == []
        assert self.store.keys() == ["a"]
        if self.command == "init":
            assert (self.pod.volume("input-artifacts") / "a").read_bytes() == DATA
        else:
            assert self.store.get("a") == DATA
            assert self.pod.states()[self.item] == "reported"
        self.check_no_litter()

    def check_no_litter(self) -> None:
        left = [path.name for path in self.pod.volume("input-artifacts").glob("*")] if self.command == "init" else []
        assert [name for name in left if name != "a"] == []


@pytest.fixture(params=["load", "save"])
def transfer(request: pytest.FixtureRequest, store: Store, controlled: ControlledPod) -> Transfer:
    return Transfer(request.param, controlled, store)


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", ["frozen", "down"])
def test_a_server_that_is_away_in_mid_transfer_and_comes_back(transfer, outage):
    """SIGSTOP: its kernel still takes what is sent, and it says nothing. Or SIGKILL; then it is started on the same
    ports, with what it had stored.
    """
    transfer.store.way.cut(after=MIDST)
    program = transfer.start(**SOON)
    transfer.store.way.await_cut()

    with getattr(transfer.store.server.daemon, outage)():
        transfer.store.way.heal()
        program.await_line(AGAIN)

    program.end(0)
    transfer.check()
    assert transfer.counted == len(transfer.attempts) + 1 > 1
    assert {one["error"] for one in transfer.attempts} <= {"TimedOut", "Unavailable"}


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [DROPPED, REFUSED], ids=["silent", "refused"])
def test_a_network_that_is_cut_until_an_attempt_has_failed(transfer, verdict):
    transfer.store.way.cut(verdict, after=MIDST)
    program = transfer.start(**SOON)
    transfer.store.way.await_cut()

    program.await_line(AGAIN)
    transfer.store.way.heal()

    program.end(0)
    transfer.check()
    assert transfer.counted == len(transfer.attempts) + 1 > 1


def test_a_network_that_is_silent_for_a_moment_costs_no_attempt(transfer):
    """Shorter than the time-out: TCP sends again what was lost, at last after some seconds."""
    transfer.store.way.cut(after=MIDST)
    program = transfer.start(**SOON, READ_TIMEOUT="20")
    transfer.store.way.await_cut()

    threading.Event().wait(0.5)
    transfer.store.way.heal()

    program.end(0)
    transfer.check()
    assert transfer.attempts == []


@pytest.mark.parametrize(("verdict", "policy"), [(DROPPED, TWICE), (REFUSED, BUDGET)], ids=["silent", "refused"])
def test_a_network_that_is_cut_for_good(transfer, verdict, policy):
    """The policy ends it: by its attempts, or by its budget."""
    transfer.store.way.cut(verdict, after=MIDST)
    program = transfer.start(**policy)
    transfer.store.way.await_cut()

    program.end(1)

    for text in (f"{transfer.phase}: {transfer.item}: ", "(attempt ", f" — {AWAY}"):
        assert text in transfer.pod.message
    assert transfer.pod.termination_log.read_text() == transfer.pod.message
    lines = transfer.pod.journal(transfer.command)
    failure = next(line["failure"] for line in lines if line["kind"] == "failure")
    assert (failure["phase"], failure["item"]) == (transfer.phase, transfer.item)
    assert failure["error"] in {"TimedOut", "Unavailable"}
    assert failure["remedy"] == AWAY
    transfer.store.way.heal()
    if transfer.command == "wait":  # nothing else is lost, and the artifact is not reported
        assert '"name":"p","value":"kept"' in transfer.pod.outputs
        assert '"name":"a"' not in transfer.pod.outputs
        assert transfer.store.keys() == []
    else:
        assert list(transfer.pod.volume("input-artifacts").iterdir()) == []
    transfer.check_no_litter()
