"""Main's root after its end, from this process and from another; and who wakes whom."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.errors import BadRequest, InputError, MainNotStarted, NotFound, StorageFull, Terminated, Unsupported
from lifecycle.ports import Container, ContainerSpec, Mount, Surroundings
from runtimes import sandbox as sandbox_module
from runtimes.local import POD, LocalRuntime
from runtimes.records import PodDirectory, Process
from tests.runtimes.conftest import HOLD, LocalPod

pytestmark = pytest.mark.sandbox
CODE = str(Path(sandbox_module.__file__).parent.parent)


def run_python(code: str, **environ: str) -> subprocess.Popen[str]:
    """Another process with our modules, as `argoexec wait` beside `argoexec run` would be."""
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": CODE, **environ},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_every_part_of_the_root_is_read_after_the_end(pod, volume):
    (volume / "file").write_text("volume")
    pod.run("echo tmp > /tmp/x; echo layer > /etc/new; ln -s /etc/new /tmp/link", mounts=(Mount(volume, "/v"),))

    assert pod.file("/usr/bin/env") == Path("/usr/bin/env").read_bytes()
    assert pod.file("/v/file") == b"volume"
    assert pod.file("/tmp/x") == b"tmp\n"
    assert pod.file("/tmp/link") == b"layer\n"


def test_what_was_found_stays_readable_when_the_sandbox_is_closed(pod, volume):
    (volume / "file").write_text("volume")
    pod.run("echo tmp > /tmp/x", mounts=(Mount(volume, "/v"),))
    pod.runtime.find_main(NEVER)
    pod.sandbox.close()

    assert pod.file("/v/file") == b"volume"
    assert pod.file("/tmp/x") == b"tmp\n"


def test_who_comes_after_the_sandbox_is_told_where_the_files_are(pod):
    pod.run("echo tmp > /tmp/x")
    pod.sandbox.close()

    with pytest.raises(Unsupported) as caught:
        LocalRuntime(pod.directory).open_file(Container("main"), "/tmp/x").close()
    assert (Path(caught.value.remedy.split(" in ")[-1]) / "tmp/x").read_text() == "tmp\n"


@pytest.mark.parametrize(("path", "make"), [("/tmp/pipe", "mkfifo /tmp/pipe"), ("/dev/null", ":"), ("/tmp", ":")])
def test_what_is_no_regular_file_is_refused_without_hanging(pod, path: str, make: str):
    pod.run(make)
    with pytest.raises(BadRequest, match=path):
        pod.runtime.open_file(Container("main"), path).close()


def test_another_process_finds_waits_and_reads(pod, volume):
    code = """if True:
        import os, sys
        from pathlib import Path
        from lifecycle.clock import NEVER
        from lifecycle.ports import Surroundings
        from runtimes.local import LocalRuntime
        runtime = LocalRuntime.from_pod(Surroundings("pod", os.environ, Path("annotations")))
        print("watching", flush=True)
        main = runtime.find_main(NEVER)
        print([one.name for one in runtime.others()], flush=True)
        sys.stdin.readline()
        print(runtime.wait(main, NEVER).code)
        print(runtime.open_file(main, "/tmp/x").read(), runtime.open_file(main, "/v/file").read())
        print(runtime.open_output(main, combined=False).read(), len(runtime.open_file(main, "/usr/bin/env").read()))
    """
    (volume / "file").write_text("volume")
    with run_python(code, **{POD: str(pod.directory)}) as waiter:
        assert waiter.stdout.readline() == "watching\n"
        pod.start("side", "sleep", "100000")
        main = pod.start_script("main", "echo out; echo tmp > /tmp/x; exit 5", {"/v": volume})
        assert waiter.stdout.readline() == "['side']\n"
        pod.end(main)
        lines = waiter.communicate("go on\n", timeout=60)[0].splitlines()

    size = Path("/usr/bin/env").stat().st_size
    assert lines == ["5", r"b'tmp\n' b'volume'", rf"b'out\n' {size}"]


def test_containers_die_with_the_sandbox_s_process(tmp_path, volume, held_open):
    code = (
        """if True:
        import sys, time
        from pathlib import Path
        from lifecycle.ports import ContainerSpec, Mount
        from runtimes.sandbox import LocalSandbox
        sandbox = LocalSandbox(Path(DIRECTORY), "pod-1")
        script = "trap '' TERM; HOLD; sleep 100000"
        for name in ("main", "side"):
            sandbox.start(ContainerSpec(name, ("sh", "-c", script), {}, mounts=(Mount(Path(VOLUME), "/v"),)))
        print("both are known", flush=True)
        sys.stdin.read()
    """.replace("HOLD", HOLD)
        .replace("DIRECTORY", repr(str(tmp_path / "pod")))
        .replace("VOLUME", repr(str(volume)))
    )
    with run_python(code) as runner:
        held_open.begin(holders=2)
        runtime = LocalRuntime(tmp_path / "pod")
        main = runtime.find_main(NEVER)
        runner.stdout.readline()  # a container runs a moment before its sandbox notes it
        runner.send_signal(signal.SIGKILL)
        held_open.end()
        runner.communicate(timeout=60)

    assert runtime.wait(main, NEVER, 60).code == 137
    assert runtime.wait(Container("side"), NEVER, 60).code == 137
    assert runtime.others() == []
    runtime.close()


def test_main_that_fails_to_start_is_told_to_who_waits_for_it(pod):
    failures: list[Exception] = []

    def look() -> None:
        try:
            pod.runtime.find_main(NEVER)
        except MainNotStarted as error:
            failures.append(error)

    waiting = threading.Thread(target=look)
    waiting.start()
    with pytest.raises(BadRequest):
        pod.start("main", "no-such-command")
    waiting.join(60)

    assert "no-such-command" in str(failures[0])


def test_closing_without_main_is_told_to_who_waits_for_it(pod):
    closing = threading.Timer(0.05, pod.sandbox.close)
    closing.start()
    with pytest.raises(MainNotStarted):
        pod.runtime.find_main(NEVER)
    closing.join()


def test_the_death_of_the_sandbox_s_process_is_told_to_who_waits_for_main(tmp_path):
    code = f"""if True:
        import sys
        from pathlib import Path
        from runtimes.sandbox import LocalSandbox
        sandbox = LocalSandbox(Path({str(tmp_path / "pod")!r}), "pod-1")
        print("made", flush=True)
        sys.stdin.read()
    """
    with run_python(code) as runner:
        runner.stdout.readline()
        killing = threading.Timer(0.05, runner.kill)
        killing.start()
        with pytest.raises(MainNotStarted):
            LocalRuntime(tmp_path / "pod").find_main(NEVER)
        killing.join()
    with pytest.raises(MainNotStarted):
        LocalRuntime(tmp_path / "pod").find_main(NEVER)


def test_a_pod_directory_must_be_named_and_be_there(tmp_path):
    with pytest.raises(InputError, match=POD):
        LocalRuntime.from_pod(Surroundings("pod", {}, tmp_path))
    with pytest.raises(InputError, match="nothing"):
        LocalRuntime.from_pod(Surroundings("pod", {POD: str(tmp_path / "nothing")}, tmp_path))


def test_an_unknown_container_is_not_found(pod):
    with pytest.raises(NotFound, match="nobody"):
        pod.runtime.wait(Container("nobody"), NEVER)


def test_a_number_that_is_another_process_now_gets_no_signal(pod):
    """Process numbers come again: a record is believed only together with the time of the start."""
    main = pod.start("main", "sleep", "100000")
    directory = PodDirectory(pod.directory).container("main")
    record = json.loads((directory.path / "state.json").read_text())
    record["init"]["start"] -= 1
    (directory.path / "state.json").write_text(json.dumps(record))
    pod.runtime.signal(main, signal.SIGKILL)

    assert pod.runtime.wait(main, NEVER, 0.05) is None
    assert Process(os.getpid(), 1).open() is None


def test_output_the_disk_could_not_take_is_not_passed_off_as_all(pod):
    pod.run("echo text")
    path = pod.directory / "containers/main/status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "output_errno": 28}))

    with pytest.raises(StorageFull, match="No space left"):
        pod.runtime.open_output(Container("main"), combined=True).close()


# --- init containers, and the end -------------------------------------------------------------------------------


def test_an_init_container_runs_to_its_end(pod):
    spec = ContainerSpec("init", ("sh", "-c", "exit 6"), {})
    assert pod.sandbox.run_init(spec, NEVER).code == 6


@pytest.mark.parametrize("trap", ["exit 1", ""])
def test_a_cancelled_init_container_is_dead(pod, volume, held_open, monkeypatch, trap: str):
    monkeypatch.setattr(sandbox_module, "GRACE", 0.1)
    cancel = Cancel()
    threading.Thread(target=lambda: (held_open.begin(), cancel.set(terminated()))).start()
    script = f"trap '{trap}' TERM; {HOLD}; while :; do sleep 0.01; done"

    with pytest.raises(Terminated):
        pod.sandbox.run_init(ContainerSpec("init", ("sh", "-c", script), {}, mounts=(Mount(volume, "/v"),)), cancel)
    held_open.end()


def test_the_pod_directory_can_be_deleted_by_its_owner(pod):
    pod.run("rm -rf /usr/bin /etc/passwd; mkdir -p /tmp/a/b; touch /usr/new")
    pod.close()

    shutil.rmtree(pod.directory)
    pod.directory.mkdir()


def test_nothing_is_left_open(tmp_path):
    def open_files() -> list[str]:
        gc.collect()  # cancel tokens of earlier tests
        return sorted(os.listdir("/proc/self/fd"))

    before, threads = open_files(), threading.active_count()  # other tests may have left some of theirs
    pod = LocalPod(tmp_path / "pod")
    pod.run("echo text > /tmp/x")
    pod.file("/tmp/x")
    pod.runtime.find_main(NEVER)
    with pytest.raises(BadRequest):
        pod.start("side", "no-such-command")
    pod.start("other", "sleep", "100000")
    pod.close()

    assert open_files() == before
    assert threading.active_count() <= threads
