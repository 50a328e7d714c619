"""Real processes that are killed by SIGKILL while they work, and what the next one makes of what they left."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from lifecycle import journal
from tests.e2e.killed import KILLER, lines_of, outputs, phases, resume

pytestmark = pytest.mark.sandbox

V = [{"name": "v", "mountPath": "/v"}]
TEMPLATE: dict[str, Any] = {
    "inputs": {"artifacts": [{"name": "in", "path": "/in/it", "raw": {"data": "input"}}]},
    "script": {
        "image": "i",
        "command": ["sh", "-e"],
        "source": "echo begun >> /v/runs; cat /in/it > /tmp/p; mkdir -p /srv/tree; echo deep > /srv/tree/f; echo out\n",
        "volumeMounts": V,
    },
    "volumes": [{"name": "v", "emptyDir": {}}],
    "initContainers": [
        {"name": "before", "image": "i", "command": ["sh", "-c", "echo ran >> /v/inits"], "volumeMounts": V}
    ],
    "sidecars": [{"name": "side", "image": "i", "command": ["sleep", "3600"]}],
    "outputs": {
        "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
        "artifacts": [
            {"name": "tree", "path": "/srv/tree"},
            {"name": "runs", "path": "/v/runs", "archive": {"none": {}}},
        ],
    },
}
LOST = "main was lost: the executor that ran it was killed, and main with it"


@pytest.fixture
def kill(runner, start):
    """Run the template until its journal has so many lines, and no further; the work dir it leaves."""

    def killed(name: str, at: int, *argv: object, template: dict[str, Any] = TEMPLATE) -> Path:
        program = runner.start(template, "--workdir", name, *argv, name=name, program=KILLER, KILLED_AT=str(at))
        program.end(-signal.SIGKILL)
        return Path(runner.directory / name)

    return killed


def check(start, directory: Path, model: dict[str, Any]) -> None:
    """The invariants of a run that was killed somewhere and is resumed."""
    before = lines_of(directory)
    saved = {one["item"]["name"]: one for one in before if one["kind"] == "item" and one["item"]["state"] == "saved"}
    store = {path: path.stat().st_mtime_ns for path in (directory / "store").rglob("*") if path.is_file()}
    ended = any(
        one["kind"] == "item" and one["phase"] == "waiting" and one["item"]["state"] == "reported" for one in before
    )
    program = start(directory.parent, "run", "--resume", directory, "-o", "json").end()
    result = program.result()
    runs = directory / "pod/volumes/v/runs"
    begun = runs.read_text() if runs.exists() else ""  # it may have died between making the file and writing
    assert begun in {"", "begun\n"}, "main ran twice"
    assert result["phase"] == "Error" or begun
    if result["phase"] == "Error":
        assert not ended, "main's end was in the journal"
        assert LOST in result["message"] or "main was lost" in result["message"]
        assert program.process.returncode == 1
    else:
        assert program.process.returncode == 0
        assert outputs(result) == outputs(model)
        assert phases(result) == phases(model)
        if "tree" in saved:
            [kept] = [path for path in store if path.name == "tree.tgz"]
            assert kept.stat().st_mtime_ns == store[kept], "it was saved again"
    assert lines_of(directory)[-1]["kind"] == "end"
    alone = [path for path in Path("/proc").glob("[0-9]*/cmdline") if f"{result['pod']}/".encode() in _read(path)]
    assert not alone, "a container outlives its run"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def number_of(lines: list[dict[str, Any]], **fields: Any) -> int:
    """The number of the first line with these fields; those of an item are looked for in it."""
    return next(
        n for n, line in enumerate(lines, 1)
        if all(line.get(key, line.get("item", {}).get(key) if isinstance(line.get("item"), dict) else None) == value
               for key, value in fields.items())
    )  # fmt: skip


@pytest.fixture
def model(runner) -> dict[str, Any]:
    return runner.run(TEMPLATE, "--workdir", "model", name="model")


@pytest.mark.slow  # 36 lines, two processes for each
def test_a_run_that_is_killed_at_any_line_is_resumed(runner, start, kill, model):
    lines = lines_of(runner.directory / "model")
    for at in range(1, len(lines) + 1):
        directory = kill(f"at-{at}", at)
        try:
            check(start, directory, model)
        except Exception as error:
            error.add_note(f"killed after line {at} of {len(lines)}: {lines[at - 1]}")
            raise


@pytest.mark.parametrize(
    "place",
    [
        {"kind": "item", "phase": "starting", "name": "side"},
        {"kind": "item", "phase": "saving", "state": "saved"},
    ],
    ids=lambda place: place["phase"],
)
def test_a_run_that_is_killed_is_resumed(runner, start, kill, model, place):
    lines = lines_of(runner.directory / "model")

    check(start, kill("killed", number_of(lines, **place)), model)


@pytest.mark.slow
def test_a_main_that_died_with_its_executor_is_lost_and_what_it_wrote_is_saved(runner, start, kill):
    source = "echo input > /tmp/p; mkdir /srv/tree; echo deep > /srv/tree/f; echo said; exec sleep 3600\n"
    template = TEMPLATE | {"script": TEMPLATE["script"] | {"source": source}}
    program = runner.start(template, "--workdir", "lost", "-o", "text", name="lost")
    directory = runner.directory / "lost"
    program.await_line("said")
    program.signal(signal.SIGKILL)
    program.end(-signal.SIGKILL)

    result = resume(start, directory, status=1)

    assert result["phase"] == "Error"
    assert LOST in result["message"]
    assert "run it again from its beginning" in result["message"]
    assert result["outputs"]["parameters"][0]["value"] == "input"
    assert [one["name"] for one in result["outputs"]["artifacts"]] == ["tree", "main-logs"]
    assert result["outputs"]["result"] == "said"


def test_a_run_that_has_ended_says_what_it_was_and_does_nothing(runner, start):
    failing = {"container": {"image": "i", "command": ["sh", "-c", "echo once >> /v/n; exit 3"], "volumeMounts": V},
               "volumes": TEMPLATE["volumes"]}  # fmt: skip
    first = runner.run(failing, "--workdir", "ended", status=3)
    directory = runner.directory / "ended"
    before = (directory / "journal.jsonl").read_bytes()

    again = resume(start, directory, status=3)

    assert (directory / "journal.jsonl").read_bytes() == before
    same = ("phase", "message", "exitCode", "outputs", "pod", "template", "journal")
    assert {key: again[key] for key in same} == {key: first[key] for key in same}
    assert phases(again) == phases(first)
    assert again["notes"] == ["nothing is left to do: it had ended before the restart (succeeded)"]
    assert (directory / "pod/volumes/v/n").read_text() == "once\n"


def test_a_run_that_lives_is_not_resumed(runner, start):
    template = {"container": {"image": "i", "command": ["sh", "-c", "echo up; exec sleep 3600"]}}
    program = runner.start(template, "--workdir", "alive", "-o", "text")
    directory = runner.directory / "alive"
    program.await_line("up")
    journal_before = (directory / "journal.jsonl").read_bytes()

    refused = start(runner.directory, "run", "--resume", directory).end(2)

    assert "another argoexec works in it" in refused.stderr
    assert (directory / "journal.jsonl").read_bytes().startswith(journal_before)
    program.signal(signal.SIGTERM)
    program.end(3)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("--resume", "nowhere"), "there is no such directory"),
        (("--resume", "."), "it holds no run: run.json"),
        (("--resume", ".", "-p", "a=b"), "with it, parameter cannot be given"),
        (("--resume", ".", "--runtime", "docker"), "with it, runtime cannot be given"),
        (("wf.yaml", "--resume", "."), "with it, file cannot be given"),
        ((), "a file is needed"),
    ],
)
def test_what_cannot_be_resumed_is_bad_input(tmp_path, start, argv, why):
    done = start(tmp_path, "run", *argv).end(2)

    assert why in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("content", "why"), [("no JSON", "not JSON"), ("[]", "not what a run leaves"),
                                              ('{"version": 9}', "another release"),
                                              ('{"version": 1}', "not what a run leaves")])  # fmt: skip
def test_a_work_dir_that_lies_is_bad_input(runner, start, content, why):
    runner.run({"container": {"image": "i", "command": ["true"]}}, "--workdir", "w")
    (runner.directory / "w/run.json").write_text(content)

    done = start(runner.directory, "run", "--resume", "w").end(2)

    assert why in done.stderr


def test_a_template_that_was_changed_meanwhile_is_not_gone_on_with(runner, start):
    runner.run({"container": {"image": "i", "command": ["true"]}}, "--workdir", "w")
    path = runner.directory / "w/template.json"
    path.write_text(path.read_text().replace('"true"', '"false"'))
    before = sorted(os.listdir(runner.directory / "w"))

    done = start(runner.directory, "run", "--resume", "w").end(2)

    assert "of another template" in done.stderr
    assert sorted(os.listdir(runner.directory / "w")) == before


def test_what_a_run_leaves_for_a_resume_is_its_owner_s_only(runner):
    secret = "a value of somebody"
    secrets = runner.directory / "secrets/mine"
    secrets.mkdir(parents=True)
    (secrets / "key").write_text("the content of a secret")
    env = [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "key"}}}]
    template = {"inputs": {"parameters": [{"name": "p"}]},
                "container": {"image": "i", "command": ["sh", "-c", 'test -n "$S"; echo {{inputs.parameters.p}}'],
                              "env": env}}  # fmt: skip
    runner.run(template, "--workdir", "w", "-p", f"p={secret}", "--secrets", secrets.parent)
    directory = runner.directory / "w"

    for path in (directory / name for name in ("run.json", "template.json", "journal.jsonl.findings")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "the content of a secret" not in path.read_text()
    assert secret not in (directory / "journal.jsonl").read_text()


# --- in a pod ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_restarted_wait_goes_on_and_a_third_one_does_nothing(controlled, start):
    """As a native sidecar is: the same container again, with the same volumes."""
    controlled.lay_out(
        outputs={"parameters": [{"name": "p", "valueFrom": {"path": "/v/p"}}],
                 "artifacts": [{"name": "a", "path": "/tmp/a", "archive": {"none": {}}}]},
        archiveLocation=controlled.archive_location(),
        script={"image": "i", "command": ["sh"], "source": "echo 1 > /v/p; echo 2 > /tmp/a; echo hi\n",
                "volumeMounts": V},
    )  # fmt: skip
    controlled.init()
    controlled.start_main()
    path = controlled.base / "shared.jsonl"
    environ = {"ARGOEXEC_JOURNAL": str(path)}
    at = 0
    while True:
        # Each life writes a header and where it goes on, and gets a few lines further.
        at += 1
        assert at < 40
        program = controlled._program("wait", program=KILLER, KILLED_AT="7", **environ)
        program.process.wait(60)
        if program.process.returncode == 0:
            break
        assert program.process.returncode == -signal.SIGKILL
    program.end(0)
    whole = json.loads(controlled.outputs)
    saved = sorted((one.name, one.stat().st_mtime_ns) for one in controlled.store.rglob("*") if one.is_file())
    text = path.read_bytes()

    controlled.wait(**environ)

    assert path.read_bytes() == text
    assert json.loads(controlled.outputs) == whole
    assert whole["parameters"][0]["value"] == "1"
    assert whole["result"] == "hi"
    assert [name for name, _ in saved] == ["a"]
    assert saved == sorted((one.name, one.stat().st_mtime_ns) for one in controlled.store.rglob("*") if one.is_file())
    lines = journal.read(path)
    items = [(line["phase"], str(line["item"])) for line in lines if line["kind"] == "item"]
    assert len(items) == len(set(items))
