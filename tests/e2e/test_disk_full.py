"""Disks that are full where a pod writes: real file systems of a few KiB, under the programs as a pod runs them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import QUICK_RETRIES
from tests.servers import apart
from tests.servers.httpd import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import ControlledPod
    from tests.servers.httpd import Httpd

pytestmark = [pytest.mark.sandbox, pytest.mark.root]

MIB = 1 << 20
ROOM = 2 * MIB
LARGE = os.urandom(3 * MIB)
FULL = "No space left on device"
REMEDY = "raise the volume's size or "
SPOOLED = "raise the ephemeral-storage limit, or name a larger directory in TMPDIR"
V = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}


def tar_gz(**files: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


def stored(pod: ControlledPod, name: str, data: bytes) -> dict[str, Any]:
    """A location with this content."""
    pod.store.mkdir(exist_ok=True)
    (pod.store / name).write_bytes(data)
    return {"fsspec": {"url": f"file://{pod.store}/{name}"}}


def failures(pod: ControlledPod, command: str) -> dict[str, dict[str, Any]]:
    """By item, what the journal says of it."""
    return {one["failure"]["item"]: one["failure"] for one in pod.journal(command) if one["kind"] == "failure"}


def fill(directory: Path) -> None:
    """To the last byte."""
    with (directory / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


# --- where inputs are loaded to ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/in", "/v"], ids=["input-artifacts", "volume"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (LARGE, FULL),
        (tar_gz(**{f"file-{number}": b"x" for number in range(2 * ROOM // 4096)}), FULL),  # a page for each
        (tar_gz(first=LARGE[:MIB], second=LARGE), "the entry 'second' has 3145728 bytes, and the target has"),
    ],
    ids=["file", "archive", "archive-that-tells"],
)
def test_an_input_that_does_not_fit_leaves_nothing_and_the_others_are_there(controlled, place, content, why):
    controlled.lay_out(
        inputs={
            "artifacts": [
                {"name": "large", "path": f"{place}/large", **stored(controlled, "large", content)},
                {"name": "small", "path": f"{place}/small", "raw": {"data": "fits"}},
            ]
        },
        container={"command": ["true"], **V},
    )
    volume = controlled.volume("v" if place == "/v" else "input-artifacts")

    with apart.small_disk(volume, ROOM):
        controlled.init(status=1)

        assert {path.name for path in volume.iterdir()} == {"small"}
        assert (volume / "small").read_text() == "fits"
    states = controlled.states("init")
    assert (states["input large"], states["input small"]) == ("failed", "loaded")
    failure = failures(controlled, "init")["input large"]
    assert (failure["error"], failure["attempt"]) == ("StorageFull", 1)
    for text in ("loading: input large: ", why, REMEDY):
        assert text in controlled.message
        assert text in controlled.termination_log.read_text()


def test_a_script_that_does_not_fit_is_not_there_by_half(controlled):
    controlled.lay_out(script={"command": ["sh"], "source": "#" * ROOM})
    staging = controlled.volume("argo-staging")

    with apart.small_disk(staging, MIB):
        controlled.init(status=1)

        assert list(staging.iterdir()) == []
    failure = failures(controlled, "init")["script"]
    assert (failure["phase"], failure["error"]) == ("staging", "StorageFull")
    for text in (FULL, REMEDY):
        assert text in controlled.message


# --- where an output waits before it is sent --------------------------------------------------------------------------


def test_an_output_that_is_sent_from_a_file_needs_room_for_it(controlled, httpd: Httpd, tmp_path):
    url = httpd.on("/large", Answer(201))
    controlled.lay_out(
        outputs={
            "artifacts": [
                {
                    "name": "large",
                    "path": "/v/large",
                    "archive": {"none": {}},
                    "http": {"url": url, "saveStreamViaFile": True},
                },
                {"name": "streamed", "path": "/v/large"},
            ],
            "parameters": [{"name": "p", "valueFrom": {"path": "/v/p"}}],
        },
        archiveLocation=controlled.archive_location(),
        container={"command": ["sh", "-c", "echo 1 > /v/p"], **V},
    )
    (controlled.volume("v") / "large").write_bytes(LARGE)
    controlled.start_main()

    with apart.small_disk(tmp_path / "small", ROOM) as small:
        controlled.wait(status=1, TMPDIR=str(small))

        assert list(small.iterdir()) == []
    failure = failures(controlled, "wait")["artifact large"]
    assert (failure["error"], failure["attempt"], failure["remedy"]) == ("StorageFull", 1, SPOOLED)
    assert f"no room in {small}" in controlled.message
    assert httpd.requests == []
    outputs = json.loads(controlled.outputs)
    assert [one["name"] for one in outputs["artifacts"]] == ["streamed"]
    assert outputs["parameters"][0]["value"] == "1"
    assert controlled.saved("streamed.tgz").stat().st_size > 0


# --- where the executor tells what it does ----------------------------------------------------------------------------


def test_a_full_journal_is_said_and_the_pod_goes_on(controlled, start, tmp_path):
    many = [{"name": f"a-{number}", "path": f"/in/{number}", "raw": {"data": f"{number}"}} for number in range(40)]
    controlled.lay_out(inputs={"artifacts": many}, container={"command": ["true"]})

    with apart.small_disk(tmp_path / "small", 2 * 4096) as small:  # a page for it, one for what a restart would need
        journal = small / "init.jsonl"
        done = controlled.init(ARGOEXEC_JOURNAL=str(journal))
        told = start(tmp_path, "explain", journal).end(0)

        assert done.stderr.count("the journal is incomplete") == 1
        assert FULL in done.stderr
        assert str(journal) in done.stderr
        assert 2048 < journal.stat().st_size <= 4096
        assert journal.read_bytes().endswith(b"}\n")
    assert "wf-1" in told.stdout
    for number in range(40):
        assert (controlled.volume("input-artifacts") / f"a-{number}").read_text() == str(number)


def test_a_journal_that_has_no_room_from_the_beginning(controlled, tmp_path):
    controlled.lay_out(inputs={"artifacts": [{"name": "a", "path": "/a", "raw": {"data": "there"}}]},
                       container={"command": ["true"]})  # fmt: skip

    with apart.small_disk(tmp_path / "small", 4096) as small:
        fill(small)
        done = controlled.init(ARGOEXEC_JOURNAL=str(small / "init.jsonl"))

    assert FULL in done.stderr
    assert "journal" in done.stderr
    assert (controlled.volume("input-artifacts") / "a").read_text() == "there"


def test_a_termination_message_that_has_no_room_is_in_the_log_and_the_report(controlled, tmp_path):
    controlled.lay_out(inputs={"artifacts": [{"name": "gone", "path": "/a"}]}, container={"command": ["true"]})

    with apart.small_disk(tmp_path / "small", 4096) as small:
        log = small / "termination-log"
        log.touch()
        fill(small)
        done = controlled.init(status=1, ARGOEXEC_TERMINATION_LOG=str(log), **QUICK_RETRIES)

        assert log.read_text() == ""
    assert f"the termination message could not be written: {FULL}" in done.stderr
    for text in (controlled.message, done.stderr):
        assert "loading: input gone: the required artifact 'gone' was not supplied" in text
