"""``argoexec init`` and ``wait`` as processes in a pod as a v2.3 controller lays it out, and what they report."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import stat
import tarfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.ports import ExitStatus
from tests.e2e.conftest import AT_ONCE, QUICK_RETRIES, entries
from tests.servers.httpd import Answer
from tests.servers.process import deaf_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Program

pytestmark = pytest.mark.sandbox

V = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
ZERO = {"deadline": "0001-01-01T00:00:00Z"}
INIT_WAY = [("staging", "done"), ("loading", "done")]
AFTER_MAIN = [(phase, "done") for phase in ("killing sidecars", "capturing", "saving", "annotating", "releasing")]
WAIT_WAY = [("waiting", "done"), *AFTER_MAIN]
STUBBORN = "trap '' TERM; echo up; while :; do sleep 60; done"


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"image": "debian", "command": ["sh", "-c", script]} | more


def in_seconds(seconds: float) -> dict[str, str]:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: TID251 - the test is the controller
    return {"deadline": moment.isoformat().replace("+00:00", "Z")}


def golden(value: Any) -> str:
    """Compact JSON in the order in which the test writes it."""
    return json.dumps(value, separators=(",", ":"))


# --- what works -------------------------------------------------------------------------------------------------------


def test_a_script_gives_a_result(controlled):
    source = "echo one\necho not this >&2\nprintf 'two\\n\\n'\n"
    controlled.lay_out(script={"image": "debian", "command": ["sh"], "source": source})

    done = controlled.run()

    staged = controlled.volume("argo-staging") / "script"
    assert staged.read_text() == source
    assert stat.S_IMODE(staged.stat().st_mode) == 0o755
    assert controlled.outputs == '{"result":"one\\ntwo\\n"}'
    assert controlled.message is None
    assert done.stdout == ""
    assert controlled.termination_log.read_text() == ""
    assert controlled.way("init") == INIT_WAY
    assert controlled.way() == WAIT_WAY
    assert controlled.states("init")["script"] == "done"
    assert controlled.states() == {"container main": "reported", "result": "reported", "report": "done"}
    assert controlled.journal()[0] | {"pod": "wf-1", "template": "t", "table": "wait"} == controlled.journal()[0]


@pytest.mark.parametrize(("asked", "kind", "kept"), [(True, "container", True), (False, "script", False)])
def test_the_controller_says_whether_stdout_is_the_result(controlled, asked, kind, kept):
    template = {"container": shell("echo hi")} if kind == "container" else {
        "script": {"image": "debian", "command": ["sh"], "source": "echo hi"}}  # fmt: skip
    controlled.lay_out({"includeScriptOutput": asked}, **template)

    controlled.run()

    assert controlled.outputs == ('{"result":"hi"}' if kept else None)


def test_inputs_are_loaded_to_where_main_sees_them(controlled):
    store = controlled.store
    store.mkdir()
    (store / "plain").write_text("plain\n")
    with tarfile.open(store / "tree.tgz", "w:gz") as tar:
        for name, content, mode in (("tree/run", b"#!/bin/sh\necho ran\n", 0o755), ("tree/sub/f", b"deep\n", 0o640)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("tree/link")
        link.type, link.linkname = tarfile.SYMTYPE, "sub/f"
        tar.addfile(link)
    controlled.lay_out(
        inputs={
            "artifacts": [
                {"name": "raw", "path": "/in/raw", "raw": {"data": "raw ✓"}, "mode": 0o400},
                {"name": "plain", "path": "/tmp/plain", "fsspec": {"url": f"file://{store}/plain"}},
                {"name": "tree", "path": "/in/tree", "fsspec": {"url": f"file://{store}/tree.tgz"}},
                {"name": "kept", "path": "/kept.tgz", "archive": {"none": {}},
                 "fsspec": {"url": f"file://{store}/tree.tgz"}},
                {"name": "not", "path": "/in/not", "optional": True},
                {"name": "gone", "path": "/in/gone", "optional": True, "fsspec": {"url": f"file://{store}/no"}},
            ]
        },
        script={
            "image": "debian",
            "command": ["sh", "-e"],
            "source": "cat /in/raw; echo; stat -c %a /in/raw /in/tree/sub/f; cat /tmp/plain /in/tree/link\n"
            "/in/tree/run; tar -tf /kept.tgz; cat /in/tree/link; ls /in/not /in/gone\n",
        },
    )  # fmt: skip

    controlled.run()

    listed = "tree/run\ntree/sub/f\ntree/link\n"
    seen = f"raw ✓\n400\n640\nplain\ndeep\nran\n{listed}deep\n/in/gone:\n\n/in/not:"
    assert json.loads(controlled.outputs) == {"result": seen}
    states = controlled.states("init")
    assert {states[f"input {name}"] for name in ("raw", "plain", "tree", "kept")} == {"loaded"}
    assert {states[f"input {name}"] for name in ("not", "gone")} == {"skipped"}


def test_an_input_below_a_volume_is_loaded_into_the_volume(controlled):
    controlled.lay_out(
        inputs={
            "artifacts": [
                {"name": "deep", "path": "/v/deep/a", "raw": {"data": "a"}},
                {"name": "deepest", "path": "/v/w/b", "raw": {"data": "b"}},
                {"name": "beside", "path": "/vv", "raw": {"data": "c"}},
            ]
        },
        outputs={"parameters": [{"name": "p", "valueFrom": {"path": "/v/deep/a"}}],
                 "artifacts": [{"name": "all", "path": "/v"}]},
        archiveLocation=controlled.archive_location(),
        container=shell(
            "cat /v/deep/a /v/w/b /vv > /v/seen",
            volumeMounts=[{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/v/w/"}],
        ),
    )  # fmt: skip

    controlled.run()

    assert (controlled.volume("v") / "deep/a").read_text() == "a"
    assert (controlled.volume("w") / "b").read_text() == "b"
    assert (controlled.volume("v") / "seen").read_text() == "abc"
    assert [path.name for path in controlled.volume("input-artifacts").iterdir()] == ["beside"]
    assert not [name for name in os.listdir(controlled.volume("v")) if name.startswith(".")]
    assert json.loads(controlled.outputs)["parameters"][0]["value"] == "a"


def test_parameters_come_from_a_volume_and_from_the_base_layer(controlled):
    controlled.lay_out(
        outputs={
            "parameters": [
                {"name": "volume", "valueFrom": {"path": "/v/sub/p"}},
                # Not in the order of the original's structs, and with a field nobody knows.
                {"valueFrom": {"path": "/tmp/q"}, "new": 1, "globalName": "g", "name": "base", "default": "d"},
                {"name": "empty", "valueFrom": {"path": "/tmp/empty"}},
                {"name": "missing", "valueFrom": {"path": "/v/none", "default": "fallback"}},
                {"name": "link", "valueFrom": {"path": "/tmp/link"}},
                {"name": "kept", "value": "as it is"},
            ]
        },
        container=shell(
            "mkdir /v/sub; printf 'x\\n\\n' > /v/sub/p; printf 'ünï \"q\" <&>\\n' > /tmp/q; : > /tmp/empty;"
            "ln -s /tmp/q /tmp/link",
            **V,
        ),
    )

    controlled.start_main()
    controlled.wait()

    assert controlled.outputs == (
        '{"parameters":['
        '{"name":"volume","value":"x\\n","valueFrom":{"path":"/v/sub/p"}},'
        '{"name":"base","default":"d","value":"ünï \\"q\\" \\u003c\\u0026\\u003e","valueFrom":{"path":"/tmp/q"},'
        '"globalName":"g","new":1},'
        '{"name":"empty","value":"","valueFrom":{"path":"/tmp/empty"}},'
        '{"name":"missing","value":"fallback","valueFrom":{"path":"/v/none","default":"fallback"}},'
        '{"name":"link","value":"ünï \\"q\\" \\u003c\\u0026\\u003e","valueFrom":{"path":"/tmp/link"}},'
        '{"name":"kept","value":"as it is"}'
        "]}"
    )


@pytest.mark.parametrize("place", ["/v", "/base"])
@pytest.mark.parametrize("target", ["sub/p", "{place}/sub/p", "/other/up"])
def test_a_link_leads_where_it_leads_in_main(controlled, place, target):
    """Relative, absolute, and through another mount and back."""
    controlled.lay_out(
        outputs={
            "parameters": [{"name": "p", "valueFrom": {"path": f"{place}/link"}}],
            "artifacts": [{"name": "a", "path": f"{place}/link", "archive": {"none": {}}}],
        },
        archiveLocation=controlled.archive_location(),
        container=shell(
            f"mkdir -p {place}/sub; echo hi > {place}/sub/p; ln -s {place}/sub/p /other/up;"
            f"ln -s {target.format(place=place)} {place}/link; cat {place}/link",
            volumeMounts=[{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/other"}],
        ),
    )

    controlled.start_main("hi")
    controlled.wait()

    assert json.loads(controlled.outputs)["parameters"][0]["value"] == "hi"
    assert controlled.saved("link").read_text() == "hi\n"


@pytest.mark.parametrize("place", ["/v", "/base"])
def test_artifacts_come_from_a_volume_and_from_the_base_layer(controlled, place):
    """The same from both, entry by entry."""
    controlled.lay_out(
        outputs={
            "artifacts": [
                {"name": "tree", "path": f"{place}/d", "archive": {"tar": {"compressionLevel": 1}}},
                {"name": "file", "path": f"{place}/f.txt"},
                {"name": "tree-as-it-is", "path": f"{place}/d/", "archive": {"none": {}}},
                {"name": "file-as-it-is", "path": f"{place}/f.txt", "archive": {"none": {}}},
                {"name": "link", "path": f"{place}/l"},
            ]
        },
        archiveLocation=controlled.archive_location(logs=True),
        container=shell(
            f"umask 022; mkdir -p {place}/d/sub/empty; cd {place}; echo hi > f.txt; echo run > d/run; chmod 750 d/run;"
            "ln -s ../run d/sub/link; ln -s /nowhere d/broken; echo 'ü' > 'd/sub/ü n'; ln -s f.txt l;"
            "echo to stdout; echo to stderr >&2",
            **V,
        ),
    )

    controlled.start_main()
    controlled.wait()

    url = f"file://{controlled.store}/wf/wf-1"
    assert controlled.outputs == golden(
        {
            "artifacts": [
                {"name": "tree", "path": f"{place}/d", "fsspec": {"url": f"{url}/tree.tgz"},
                 "archive": {"tar": {"compressionLevel": 1}}},
                {"name": "file", "path": f"{place}/f.txt", "fsspec": {"url": f"{url}/file.tgz"}},
                {"name": "tree-as-it-is", "path": f"{place}/d/", "fsspec": {"url": f"{url}/d"},
                 "archive": {"none": {}}},
                {"name": "file-as-it-is", "path": f"{place}/f.txt", "fsspec": {"url": f"{url}/f.txt"},
                 "archive": {"none": {}}},
                {"name": "link", "path": f"{place}/l", "fsspec": {"url": f"{url}/link.tgz"}},
                {"name": "main-logs", "archiveLogs": True, "fsspec": {"url": f"{url}/main.log"}},
            ]
        }
    )  # fmt: skip
    assert entries(controlled.saved("tree.tgz")) == [
        ("d", "directory", 0o755, ""),
        ("d/broken", "link", 0o777, "/nowhere"),
        ("d/run", "file", 0o750, b"run\n"),
        ("d/sub", "directory", 0o755, ""),
        ("d/sub/empty", "directory", 0o755, ""),
        ("d/sub/link", "link", 0o777, "../run"),
        ("d/sub/ü n", "file", 0o644, "ü\n".encode()),
    ]
    assert entries(controlled.saved("file.tgz")) == [("f.txt", "file", 0o644, b"hi\n")]
    assert entries(controlled.saved("link.tgz")) == [("l", "file", 0o644, b"hi\n")]
    assert controlled.saved("f.txt").read_text() == "hi\n"
    stored = {str(path.relative_to(controlled.saved("d"))): path.read_text()
              for path in controlled.saved("d").rglob("*") if path.is_file()}  # fmt: skip
    assert stored == {"run": "run\n", "sub/ü n": "ü\n"}
    assert controlled.saved("main.log").read_text() == "to stdout\nto stderr\n"
    left_out = next(
        line["item"]["note"] for line in controlled.journal()
        if line["kind"] == "item" and line["item"]["name"] == "tree-as-it-is" and line["item"]["state"] == "saved"
    )  # fmt: skip
    assert left_out.startswith("not stored: ")
    assert len(left_out.split(", ")) == 3


def test_an_artifact_that_was_an_input_is_saved_again(controlled):
    controlled.lay_out(
        inputs={"artifacts": [{"name": "i", "path": "/in", "raw": {"data": "before "}}]},
        outputs={"artifacts": [{"name": "o", "path": "/in", "archive": {"none": {}}}]},
        archiveLocation=controlled.archive_location(),
        container=shell("echo after >> /in"),
    )

    controlled.run()

    assert controlled.saved("in").read_text() == "before after\n"


def test_a_key_of_its_own_is_used_as_it_is(controlled):
    url = f"file://{controlled.store}/own/name.bin"
    controlled.lay_out(
        outputs={
            "artifacts": [{"name": "o", "path": "/tmp/o", "fsspec": {"url": url}, "mode": 0o644, "new": {"x": 1}}]
        },
        container=shell("echo mine > /tmp/o"),
    )

    controlled.start_main()
    controlled.wait()

    artifact = {"name": "o", "path": "/tmp/o", "mode": 0o644, "fsspec": {"url": url}, "new": {"x": 1}}
    assert controlled.outputs == golden({"artifacts": [artifact]})
    assert entries(controlled.store / "own/name.bin") == [("o", "file", 0o644, b"mine\n")]


def test_sidecars_are_killed_politely_then_by_force(controlled):
    controlled.lay_out(container=shell("echo begun; read line < /v/go", **V), sidecars=[{"name": "polite"}])
    os.makedirs(controlled.volume("v"), exist_ok=True)
    os.mkfifo(controlled.volume("v") / "go")
    controlled.start_main("begun")
    polite = controlled.start_sidecar(
        "polite", "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 60 & wait; done"
    )
    stubborn = controlled.start_sidecar("stubborn", STUBBORN)
    injected = controlled.start_sidecar("istio-proxy", "echo up; exec sleep 60")
    gone = controlled.start_sidecar("gone", "echo up; exit 4")
    controlled.kubelet.end(gone)
    wait = controlled.start_wait()
    with (controlled.volume("v") / "go").open("w") as go:
        go.write("go\n")

    wait.end(0)

    pod = controlled.kubelet
    assert [pod.end(one).code for one in (polite, stubborn, injected, gone)] == [9, 137, 143, 4]
    assert pod.output("polite") == b"up\nbye\n"
    ended = [(line["phase"], line["item"]) for line in controlled.journal() if line["kind"] == "item"]
    killed = [(phase, item["name"]) for phase, item in ended if item["kind"] == "container" and item["name"] != "main"]
    assert sorted(killed[:2]) == [("killing sidecars", "polite"), ("killing sidecars", "stubborn")]
    assert killed[2:] == [("releasing", "istio-proxy")]
    assert controlled.way() == WAIT_WAY


def test_wait_that_comes_before_main_finds_it(controlled):
    controlled.lay_out(
        outputs={"parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}]}, container=shell("echo 1 > /tmp/p")
    )
    wait = controlled.start_wait()
    assert wait.runs
    assert [line["kind"] for line in controlled.journal()] == ["pod", "enter"]

    controlled.start_main()

    wait.end(0)
    assert json.loads(controlled.outputs)["parameters"][0]["value"] == "1"


def test_wait_that_comes_after_mains_end_finds_it(controlled):
    controlled.lay_out(
        outputs={"parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}]}, container=shell("echo 1 > /tmp/p")
    )
    assert controlled.kubelet.end(controlled.start_main()) == ExitStatus(0)

    controlled.wait()

    assert json.loads(controlled.outputs)["parameters"][0]["value"] == "1"


def test_nothing_to_report_is_no_annotation(controlled):
    controlled.lay_out(container=shell("true"))

    controlled.start_main()
    controlled.wait()

    assert (controlled.outputs, controlled.message) == (None, None)


# --- outputs that are not there ---------------------------------------------------------------------------------------


def test_an_optional_output_is_skipped_and_a_required_one_is_an_error_that_stops_no_other(controlled):
    controlled.lay_out(
        outputs={
            "parameters": [{"name": "no", "valueFrom": {"path": "/tmp/no-parameter"}},
                           {"name": "yes", "valueFrom": {"path": "/tmp/yes"}}],
            "artifacts": [
                {"name": "optional", "path": "/v/optional", "optional": True},
                {"name": "base", "path": "/tmp/optional", "optional": True, "archive": {"none": {}}},
                {"name": "required", "path": "/v/required"},
                {"name": "there", "path": "/tmp/yes"},
            ],
        },
        archiveLocation=controlled.archive_location(),
        container=shell("echo 1 > /tmp/yes", **V),
    )  # fmt: skip

    controlled.start_main()
    done = controlled.wait(status=1)

    url = f"file://{controlled.store}/wf/wf-1/there.tgz"
    assert controlled.outputs == golden(
        {
            "parameters": [
                {"name": "no", "valueFrom": {"path": "/tmp/no-parameter"}},
                {"name": "yes", "value": "1", "valueFrom": {"path": "/tmp/yes"}},
            ],
            "artifacts": [{"name": "there", "path": "/tmp/yes", "fsspec": {"url": url}}],
        }
    )
    for place in (controlled.message, controlled.termination_log.read_text(), done.stderr):
        assert "parameter no" in place
        assert "/tmp/no-parameter" in place
    assert "required" in controlled.message
    assert "optional" not in controlled.message
    states = controlled.states()
    assert {name: states[f"artifact {name}"] for name in ("optional", "base", "required", "there")} == {
        "optional": "skipped", "base": "skipped", "required": "failed", "there": "reported",
    }  # fmt: skip
    assert not controlled.saved("required.tgz").exists()
    assert controlled.way() == [("waiting", "done"), ("killing sidecars", "done"), ("capturing", "done"),
                                ("saving", "failed"), ("annotating", "done"), ("releasing", "done")]  # fmt: skip


@pytest.mark.parametrize("path", ["/v/sub/none", "/tmp/sub/none"])
@pytest.mark.parametrize("kind", ["parameter", "tar", "none"])
def test_what_is_missing_is_named_by_its_path_in_main(controlled, path, kind):
    outputs = (
        {"parameters": [{"name": "o", "valueFrom": {"path": path}}]}
        if kind == "parameter"
        else {"artifacts": [{"name": "o", "path": path, "archive": {kind: {}}}]}
    )
    controlled.lay_out(
        outputs=outputs, archiveLocation=controlled.archive_location(), container=shell("mkdir /v/sub", **V)
    )

    controlled.start_main()
    controlled.wait(status=1)

    assert path in controlled.message
    failure = next(line["failure"] for line in controlled.journal() if line["kind"] == "failure")
    assert ("valueFrom.default" if kind == "parameter" else "optional: true") in failure["remedy"]


def test_an_output_without_a_store_is_an_error_that_says_so(controlled):
    controlled.lay_out(
        outputs={"artifacts": [{"name": "o", "path": "/tmp/o"}]}, container=shell("echo 1 > /tmp/o")
    )  # fmt: skip

    controlled.start_main()
    controlled.wait(status=1)

    assert controlled.outputs is None
    assert "artifact o: there is no archive location" in controlled.message


def test_main_that_fails_is_not_waits_failure(controlled):
    controlled.lay_out(
        outputs={"parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
                 "artifacts": [{"name": "not", "path": "/tmp/not"}, {"name": "there", "path": "/tmp/p"}]},
        archiveLocation=controlled.archive_location(logs=True),
        container=shell("echo half > /tmp/p; echo oops >&2; exit 3"),
    )  # fmt: skip

    main = controlled.start_main()
    controlled.wait(status=0)

    assert controlled.kubelet.end(main).code == 3
    outputs = json.loads(controlled.outputs)
    assert outputs["parameters"][0]["value"] == "half"
    assert [one["name"] for one in outputs["artifacts"]] == ["there", "main-logs"]
    assert controlled.saved("main.log").read_text() == "oops\n"
    assert controlled.message is None
    assert controlled.states()["artifact not"] == "skipped"
    ended = next(
        line for line in controlled.journal() if line["kind"] == "item" and line["item"]["state"] == "reported"
    )
    assert ended["item"]["note"] == "exit code 3"


# --- deadlines, and wishes to stop ------------------------------------------------------------------------------------

OUTLIVES = "trap 'echo late > /v/out; exit 7' TERM; echo begun; while :; do sleep 60 & wait; done"
SAVES = {"artifacts": [{"name": "out", "path": "/v/out", "archive": {"none": {}}}]}


@pytest.fixture
def long_running(controlled):
    """A pod whose main would run on, and says goodbye on TERM; `wait` is to be started."""
    controlled.lay_out(outputs=SAVES, archiveLocation=controlled.archive_location(), container=shell(OUTLIVES, **V))
    controlled.main = controlled.start_main("begun")
    return controlled


def check_stopped(pod, event: str, *says: str) -> None:
    """Main got its TERM and its grace, what it wrote is saved, and the step is Failed, not an Error."""
    assert pod.kubelet.end(pod.main).code == 7
    assert pod.saved("out").read_text() == "late\n"
    assert [one["name"] for one in json.loads(pod.outputs)["artifacts"]] == ["out"]
    for text in says:
        assert text in pod.message
        assert text in pod.termination_log.read_text()
    assert pod.way() == [("waiting", event), *AFTER_MAIN]
    assert pod.journal()[-1]["verdict"] == "terminated"


def test_the_deadline_of_the_execution_annotation_ends_main(long_running):
    long_running.annotate(in_seconds(1))

    long_running.wait(status=0)

    check_stopped(long_running, "deadline", "exceeded its deadline")


@pytest.mark.parametrize("where", ["annotation", "ARGO_DEADLINE"])
def test_a_deadline_that_has_passed_ends_main_at_once(long_running, where):
    past = in_seconds(-3600)
    if where == "annotation":
        long_running.annotate(past)
        long_running.wait(status=0)
    else:
        long_running.wait(status=0, ARGO_DEADLINE=past["deadline"])

    check_stopped(long_running, "deadline", "exceeded its deadline")


NONSENSE = "nonsense"


def start_wait_that_has_looked(pod) -> Program:
    """Begin `wait`, and block until it will not look at the execution control again unless it is told to.

    It looks when it begins and when its watch does. What it sees is nonsense, so it says so each time.
    """
    wait = pod.start_wait()
    wait.await_line("the execution control cannot be read", times=2)
    return wait


def test_the_zero_deadline_and_sigusr2_terminate(long_running, tmp_path):
    """The file is a link to where no watch looks, so that the signal alone can tell."""
    elsewhere = tmp_path / "elsewhere/annotations"
    elsewhere.parent.mkdir()
    long_running.annotate_with(elsewhere, NONSENSE)
    long_running.annotations.unlink()
    long_running.annotations.symlink_to(elsewhere)
    wait = start_wait_that_has_looked(long_running)
    long_running.annotate_with(elsewhere, ZERO)

    wait.signal(signal.SIGUSR2)

    wait.end(0)
    check_stopped(long_running, "terminated", "terminated")


def test_sigusr2_without_a_change_changes_nothing(long_running):
    wait = long_running.start_wait()

    wait.signal(signal.SIGUSR2)
    wait.signal(signal.SIGUSR2)
    long_running.kubelet.runtime.signal(long_running.main, signal.SIGTERM)

    wait.end(0)
    assert long_running.message is None
    assert long_running.way() == WAIT_WAY


def test_sigusr1_says_what_is_waited_for_and_stops_nothing(long_running):
    wait = long_running.start_wait("--log-format", "json", ARGOEXEC_HEARTBEAT="0")

    wait.signal(signal.SIGUSR1)
    wait.await_line('"waiting for main (since ')
    long_running.kubelet.runtime.signal(long_running.main, signal.SIGTERM)

    wait.end(0)
    lines = [json.loads(line) for line in wait.stderr.splitlines()]
    [said] = [line for line in lines if line["msg"].startswith("waiting for main")]
    assert "ends with main or SIGTERM · under way: container main" in said["msg"]
    assert (said["phase"], said["level"], said["pod"]) == ("waiting", "info", "wf-1")
    assert lines[-1]["msg"].startswith("wait succeeded in ")
    assert [part.split()[0] for part in lines[-1]["msg"].partition(": ")[2].split(" · ")] == [
        "waiting", "killing", "capturing", "saving", "annotating", "releasing",
    ]  # fmt: skip
    assert long_running.way() == WAIT_WAY


def test_a_wait_gives_signs_of_life(long_running):
    wait = long_running.start_wait(ARGOEXEC_HEARTBEAT="50ms")
    wait.await_line("waiting for main (since ", times=3)

    long_running.kubelet.runtime.signal(long_running.main, signal.SIGTERM)
    wait.end(0)


def downward_volume(pod) -> Path:
    """Make the annotations file what the kubelet makes it: a link through ``..data``; gives their directory."""
    directory = pod.annotations.parent
    (directory / "..1").mkdir()
    pod.annotations.rename(directory / "..1/annotations")
    (directory / "..data").symlink_to("..1")
    pod.annotations.symlink_to("..data/annotations")
    return directory


def test_a_data_link_that_is_pointed_anew_is_enough(long_running):
    """As Kubernetes updates the file: a new directory, and a rename over the link. No signal."""
    long_running.annotate(NONSENSE)
    directory = downward_volume(long_running)
    wait = start_wait_that_has_looked(long_running)
    (directory / "..2").mkdir()
    long_running.annotate_with(directory / "..2/annotations", ZERO)
    (directory / "..data_tmp").symlink_to("..2")

    (directory / "..data_tmp").rename(directory / "..data")

    wait.end(0)
    check_stopped(long_running, "terminated", "terminated")


def test_a_file_that_is_replaced_is_enough(long_running):
    long_running.annotate(NONSENSE)
    wait = start_wait_that_has_looked(long_running)

    long_running.annotate(ZERO)

    wait.end(0)
    check_stopped(long_running, "terminated", "terminated")


def test_a_deadline_that_is_set_late_and_then_moved_is_the_last_one(long_running):
    """Far away when the pod begins, then near: the wait in hand is shortened."""
    long_running.annotate(in_seconds(3600))
    wait = long_running.start_wait()

    long_running.annotate(in_seconds(1))

    wait.end(0)
    check_stopped(long_running, "deadline", "exceeded its deadline")


def test_sigterm_to_wait_stops_main_and_saves(long_running):
    wait = long_running.start_wait()

    wait.signal(signal.SIGTERM)

    wait.end(0)
    check_stopped(long_running, "terminated", "terminated by SIGTERM")


def test_a_report_that_cannot_be_delivered_is_an_error_and_the_kubelet_is_told(long_running):
    """Stopped and refused at once: the termination log says both."""
    (long_running.directory / "reported.json").mkdir()
    wait = long_running.start_wait()

    wait.signal(signal.SIGTERM)

    wait.end(1)
    assert long_running.termination_log.read_text().startswith("terminated by SIGTERM; annotating: report: ")


def test_a_docker_socket_that_is_not_there_is_reported_and_nothing_hangs(controlled, tmp_path):
    controlled.lay_out(outputs=SAVES, archiveLocation=controlled.archive_location(), container=shell("true", **V))
    there = tmp_path / "docker.sock"

    controlled.wait(status=1, ARGO_CONTAINER_RUNTIME_EXECUTOR="docker", DOCKER_HOST=f"unix://{there}")

    for told in (controlled.message, controlled.termination_log.read_text()):
        assert told.startswith("waiting: main: ")
        assert str(there) in told


def test_main_that_ignores_term_is_killed_after_the_grace(controlled):
    controlled.lay_out(
        outputs=SAVES, archiveLocation=controlled.archive_location(),
        container=shell(f"echo half > /v/out; {STUBBORN}", **V),
    )  # fmt: skip
    main = controlled.start_main("up")
    wait = controlled.start_wait()

    wait.signal(signal.SIGTERM)

    wait.end(0)
    assert controlled.kubelet.end(main).code == 137
    assert controlled.saved("out").read_text() == "half\n"
    waiting = next(line for line in controlled.journal() if line["kind"] == "leave" and line["phase"] == "waiting")
    assert waiting["seconds"] >= 1


def test_sigterm_to_wait_before_main_has_started(controlled):
    """Main never comes: `wait` does not wait for it for ever, and reports."""
    controlled.lay_out(outputs=SAVES, archiveLocation=controlled.archive_location(), container=shell("true", **V))
    wait = controlled.start_wait()

    wait.signal(signal.SIGTERM)

    wait.end(0)
    assert "terminated by SIGTERM" in controlled.message
    assert controlled.states()["artifact out"] == "abandoned"


def test_a_second_wish_before_main_was_found_leaves_it_no_grace(controlled):
    """Main starts while a stopped `wait` still looks for it, and is killed at once: nobody waits an hour."""
    controlled.lay_out(container=shell(STUBBORN))
    wait = controlled.start_wait(ARGO_TERMINATION_GRACE_PERIOD_SECONDS="3600")
    wait.signal(signal.SIGTERM)
    wait.signal(signal.SIGINT)

    main = controlled.start_main()

    wait.end(0, within=AT_ONCE)
    assert controlled.kubelet.end(main).code == 137


def test_a_kubelet_that_dies_before_main_starts_is_an_error(controlled):
    controlled.lay_out(container=shell("true"))
    wait = controlled.start_wait()

    controlled.kubelet.close()

    wait.end(1)
    assert "main" in controlled.message


# --- what cannot begin ------------------------------------------------------------------------------------------------


def test_a_missing_input_is_named_by_the_annotation_and_the_termination_log(controlled):
    controlled.lay_out(
        inputs={
            "artifacts": [
                {"name": "first", "path": "/first", "raw": {"data": "1"}},
                {"name": "gone", "path": "/gone", "fsspec": {"url": f"file://{controlled.store}/nowhere"}},
                {"name": "last", "path": "/last", "raw": {"data": "2"}},
            ]
        },
        container=shell("true"),
    )

    done = controlled.init(status=1)

    assert controlled.outputs is None
    for place in (controlled.message, controlled.termination_log.read_text(), done.stderr):
        assert "loading: input gone:" in place
        assert f"{controlled.store}/nowhere" in place
    states = controlled.states("init")
    assert [states[f"input {name}"] for name in ("first", "gone", "last")] == ["loaded", "failed", "loaded"]
    assert controlled.way("init") == [("staging", "done"), ("loading", "failed"), ("annotating", "done")]
    assert sorted(path.name for path in controlled.volume("input-artifacts").iterdir()) == ["first", "last"]


def test_inputs_that_were_not_supplied_are_all_named(controlled):
    controlled.lay_out(
        inputs={"artifacts": [{"name": name, "path": f"/{name}"} for name in ("one", "two")]}, container=shell("true")
    )

    controlled.init(status=1)

    assert "was not supplied" in controlled.message
    for name in ("one", "two"):
        assert f"loading: input {name}" in controlled.message


def test_sigterm_to_init_ends_a_load_that_hangs(controlled, httpd):
    url = httpd.on("/slow", Answer(body=b"x" * 1000, length=2000, hangs=True))
    controlled.lay_out(
        inputs={"artifacts": [{"name": "slow", "path": "/slow", "http": {"url": url}}]}, container=shell("true")
    )
    init = controlled.start_init()
    httpd.await_requests(1)

    init.signal(signal.SIGTERM)

    init.end(1, within=AT_ONCE)
    assert "terminated by SIGTERM" in controlled.message
    assert controlled.way("init") == [("staging", "done"), ("loading", "terminated"), ("annotating", "done")]
    assert list(controlled.volume("input-artifacts").iterdir()) == []


def test_an_archive_that_is_cut_leaves_nothing_behind(controlled):
    controlled.store.mkdir()
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        member = tarfile.TarInfo("d/f")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(os.urandom(member.size)))
    (controlled.store / "cut.tgz").write_bytes(whole.getvalue()[:50_000])
    controlled.lay_out(
        inputs={"artifacts": [{"name": "cut", "path": "/v/cut",
                               "fsspec": {"url": f"file://{controlled.store}/cut.tgz"}}]},
        container=shell("true", **V),
    )  # fmt: skip

    controlled.init(status=1)

    assert "input cut" in controlled.message
    assert list(controlled.volume("v").iterdir()) == []


@pytest.mark.parametrize("command", ["init", "wait"])
@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ("{", "workflows.argoproj.io/template"),
        ("[]", "workflows.argoproj.io/template"),
        ('{"name":"t","inputs":{"artifacts":[{"name":"a","path":"/a","s3":{"insecure":"yes"}}]}}',
         "$.inputs.artifacts[0].s3.insecure"),
        (None, "workflows.argoproj.io/template"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_read_is_said_once(controlled, command, annotation, says):
    controlled.lay_out(container=shell("true"))
    line = "" if annotation is None else f"workflows.argoproj.io/template={json.dumps(annotation)}\n"
    controlled.annotations.write_text(f'a="b"\n{line}')

    done = getattr(controlled, command)(status=1)

    assert done.stderr.count(says) == 1
    assert says in controlled.termination_log.read_text()
    assert not (controlled.directory / "reported.json").exists()


@pytest.mark.parametrize("command", ["init", "wait"])
@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ARGO_DEADLINE": "tomorrow"}, "ARGO_DEADLINE"),
        ({"ARGO_POD_NAME": ""}, "ARGO_POD_NAME"),
        ({"ARGO_TERMINATION_GRACE_PERIOD_SECONDS": "soon"}, "ARGO_TERMINATION_GRACE_PERIOD_SECONDS"),
        ({"ARGO_CONTAINER_RUNTIME_EXECUTOR": "emissary"}, "emissary"),
        ({"ARGO_CONTAINER_RUNTIME_EXECUTOR": "lokal"}, "lokal"),
        ({"ARGOEXEC_LOCAL_POD": "/nowhere"}, "/nowhere"),
        ({"EXECUTOR_RETRY_BACKOFF_STEPS": "many"}, "EXECUTOR_RETRY_BACKOFF_STEPS"),
    ],
)
def test_an_environment_that_is_wrong_is_said_to_the_kubelet_as_well(controlled, command, environ, says):
    controlled.lay_out(container=shell("true"))

    done = getattr(controlled, command)(status=1, **environ)

    assert done.stdout == ""
    assert says in done.stderr
    assert says in controlled.termination_log.read_text()


def test_annotations_that_are_not_mounted_are_an_error_that_names_the_file(controlled):
    controlled.lay_out(container=shell("true"))
    controlled.annotations.unlink()

    done = controlled.init(status=1)

    assert str(controlled.annotations) in done.stderr
    assert str(controlled.annotations) in controlled.termination_log.read_text()


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_is_nowhere_but_in_its_file(controlled):
    """Through drivers that work and drivers that fail, at the most talkative log level."""
    token = os.urandom(8).hex()
    canary = f"k4n4ry/+&? '\\\\\"{token}"  # which looks another way wherever it is quoted
    (controlled.secrets / "s").mkdir()
    (controlled.secrets / "s/key").write_text(canary)
    selector = {"name": "s", "key": "key"}
    with deaf_port() as port:
        nobody = f"127.0.0.1:{port}"
        secret = {"secretKeyRef": selector}
        s3 = {"endpoint": nobody, "bucket": "b", "insecure": True, "accessKeySecret": selector,
              "secretKeySecret": selector, "key": "k"}  # fmt: skip
        ftp = {"url": f"ftp://{nobody}/x", "options": {"username": "u", "password": secret, "timeout": 5}}
        file = {"url": f"file://{controlled.store}/", "options": {"ours": secret}}
        tar = {"url": f"tar://x::file://{controlled.store}/in", "options": {"tar": {"compression": secret}}}
        controlled.store.mkdir()
        (controlled.store / "in").write_text("in")
        artifacts = [
            {"name": "file", "path": "/tmp/o", "fsspec": file | {"url": f"{file['url']}in"}},
            {"name": "s3", "path": "/tmp/o", "s3": s3},
            {"name": "ftp", "path": "/tmp/o", "fsspec": ftp},
            {"name": "tar", "path": "/tmp/o", "fsspec": tar},  # whose error message is the option's value
            {"name": "missing", "path": "/tmp/o", "s3": s3 | {"secretKeySecret": {"name": "s", "key": "none"}}},
        ]
        controlled.lay_out(
            inputs={"artifacts": [one | {"path": f"/in/{one['name']}"} for one in artifacts]},
            outputs={"artifacts": artifacts, "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/o"}}]},
            container=shell("echo out | tee /tmp/o"),
            archiveLocation={"archiveLogs": True, "s3": s3},
        )

        init = controlled.init("--loglevel", "debug", status=1, **QUICK_RETRIES)
        controlled.start_main()
        wait = controlled.wait("--loglevel", "debug", status=1, **QUICK_RETRIES)

    assert "attempt" in {line["kind"] for line in controlled.journal()}
    assert '"ours":{"secretKeyRef":{"name":"s","key":"key"}}' in controlled.outputs
    controlled.kubelet.close()
    # The token as it is, however the rest is quoted, and the whole in base64 at each of its three alignments.
    shapes = {token} | {base64.b64encode(canary.encode()[start:]).decode()[:-4] for start in range(3)}
    places = {"init": init.stdout + init.stderr, "wait": wait.stdout + wait.stderr}
    places |= {
        str(path): path.read_bytes().decode(errors="replace")
        for path in controlled.base.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.is_relative_to(controlled.secrets)
    }
    assert len(places) > 10
    assert [(place, shape) for place, text in places.items() for shape in shapes if shape in text] == []
