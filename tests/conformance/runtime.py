"""What every runtime adapter must do. Whoever writes one derives from :class:`RuntimeConformance`."""

from __future__ import annotations

import signal
import tarfile
import threading
from typing import TYPE_CHECKING, Protocol

import pytest

from lifecycle.clock import NEVER, Cancel, terminated
from lifecycle.errors import BadRequest, NotFound, Terminated, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.ports import Container, Runtime

FOR_EVER = "sleep 100000"


class Pod(Protocol):
    """One pod on the runtime under test, without any container yet."""

    runtime: Runtime

    def start_script(self, name: str, script: str, mounts: dict[str, Path] | None = None) -> Container:
        """Start a container that runs ``sh -c script``; returns when its process runs."""

    def await_output(self, name: str, line: str) -> None:
        """Block until the container has written exactly this line."""


class RuntimeConformance:
    """Derive, and supply a fixture ``pod`` with the methods of :class:`Pod`, new for every test.

    Set ``base_layer`` to false where the runtime cannot read a container's own file system, and
    ``separates_stderr`` where it cannot tell stdout from stderr; then it must say so where it is asked. Set
    ``last_words`` to false where the node loses what a container writes in the moment of its end.
    """

    last_words = True
    base_layer = True
    separates_stderr = True

    @pytest.fixture
    def main(self, pod: Pod):
        """Start main with a script and find it."""

        def start(script: str) -> Container:
            pod.start_script("main", script)
            return pod.runtime.find_main(NEVER)

        return start

    # The first process of a PID namespace cannot kill itself: a child dies, and the shell says how.
    @pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("sh -c 'kill -9 $$'; exit $?", 137)])
    def test_the_exit_code_is_the_command_s(self, pod: Pod, main, script: str, code: int):
        assert pod.runtime.wait(main(script), NEVER).code == code

    def test_main_is_found_by_who_came_before_it(self, pod: Pod):
        found: list[Container] = []
        waiting = threading.Thread(target=lambda: found.append(pod.runtime.find_main(NEVER)))
        waiting.start()
        pod.start_script("main", FOR_EVER)
        waiting.join(60)

        assert [one.name for one in found] == ["main"]

    def test_looking_for_main_can_be_cancelled(self, pod: Pod):
        cancel = Cancel()
        threading.Timer(0.05, cancel.set, [terminated()]).start()

        with pytest.raises(Terminated):
            pod.runtime.find_main(cancel)

    def test_waiting_ends_by_its_time_out(self, pod: Pod, main):
        assert pod.runtime.wait(main(FOR_EVER), NEVER, 0.05) is None

    def test_waiting_can_be_cancelled(self, pod: Pod, main):
        cancel = Cancel()
        container = main(FOR_EVER)
        threading.Timer(0.05, cancel.set, [terminated()]).start()

        with pytest.raises(Terminated):
            pod.runtime.wait(container, cancel)

    def test_waiting_again_for_what_has_ended_gives_the_same(self, pod: Pod, main):
        container = main("exit 5")

        assert pod.runtime.wait(container, NEVER) == pod.runtime.wait(container, NEVER)

    def test_the_others_are_all_that_run_but_main(self, pod: Pod, main):
        main(FOR_EVER)
        for name in ("side", "istio-proxy"):
            pod.start_script(name, FOR_EVER)
        done = pod.start_script("done", "exit 0")
        pod.runtime.wait(done, NEVER)

        assert {one.name for one in pod.runtime.others()} == {"side", "istio-proxy"}

    def test_term_reaches_the_command(self, pod: Pod, main):
        container = main("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done")
        pod.await_output("main", "ready")
        pod.runtime.signal(container, signal.SIGTERM)

        assert pod.runtime.wait(container, NEVER).code == 7

    def test_kill_ends_what_ignores_term(self, pod: Pod, main):
        container = main("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        pod.await_output("main", "ready")
        pod.runtime.signal(container, signal.SIGTERM)
        pod.runtime.signal(container, signal.SIGKILL)

        assert pod.runtime.wait(container, NEVER).code == 137

    def test_a_signal_to_what_has_ended_is_success(self, pod: Pod, main):
        container = main("exit 0")
        pod.runtime.wait(container, NEVER)

        pod.runtime.signal(container, signal.SIGTERM)
        pod.runtime.signal(container, signal.SIGKILL)

    def test_all_output_is_there_when_waiting_ends(self, pod: Pod, main):
        writes = "seq 100000; echo to-stderr >&2"
        container = main(writes if self.last_words else f"{writes}; trap 'exit 0' TERM; while :; do sleep 0.01; done")
        if not self.last_words:
            pod.await_output("main", "100000")
            pod.await_output("main", "to-stderr")
            pod.runtime.signal(container, signal.SIGTERM)
        pod.runtime.wait(container, NEVER)
        expected = b"".join(b"%d\n" % number for number in range(1, 100001))

        with pod.runtime.open_output(container, combined=True) as stream:
            combined = stream.read()
        assert combined.replace(b"to-stderr\n", b"") == expected
        if self.separates_stderr:
            with pod.runtime.open_output(container, combined=False) as stream:
                assert stream.read() == expected

    @pytest.mark.parametrize(
        ("path", "content"),
        [
            ("/tmp/file", b"text\n"),
            ("/tmp/absolute", b"text\n"),
            ("/tmp/relative", b"text\n"),
            ("/tmp/empty", b""),
        ],
    )
    def test_a_file_is_read_after_the_end(self, pod: Pod, main, path: str, content: bytes):
        if not self.base_layer:
            return
        container = main("cd /tmp; echo text > file; ln -s /tmp/file absolute; ln -s ../tmp/file relative; : > empty")
        pod.runtime.wait(container, NEVER)

        with pod.runtime.open_file(container, path) as stream:
            assert stream.read() == content

    def test_a_link_out_of_the_container_stays_in_it(self, pod: Pod, main, tmp_path: Path):
        if not self.base_layer:
            return
        (tmp_path / "secret").write_text("the host's")
        container = main(f"ln -s ../../../../../../../../../../{tmp_path}/secret /tmp/link")
        pod.runtime.wait(container, NEVER)

        with pytest.raises(NotFound):
            pod.runtime.open_file(container, "/tmp/link").close()

    def test_what_is_not_there_is_not_found(self, pod: Pod, main):
        if not self.base_layer:
            return
        container = main("exit 0")
        pod.runtime.wait(container, NEVER)

        with pytest.raises(NotFound):
            pod.runtime.open_file(container, "/tmp/nothing").close()
        with pytest.raises(NotFound), pod.runtime.open_tar(container, "/tmp/nothing") as stream:
            stream.read()

    def test_a_directory_is_no_parameter(self, pod: Pod, main):
        if not self.base_layer:
            return
        container = main("exit 0")
        pod.runtime.wait(container, NEVER)

        with pytest.raises(BadRequest):
            pod.runtime.open_file(container, "/tmp").close()

    def test_a_tar_begins_with_the_base_name(self, pod: Pod, main):
        if not self.base_layer:
            return
        container = main("mkdir -p /tmp/top/sub; echo text > /tmp/top/sub/file; ln -s sub /tmp/top/link")
        pod.runtime.wait(container, NEVER)

        with (
            pod.runtime.open_tar(container, "/tmp/top") as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            found = {one.name: one.linkname for one in tar}
        assert next(iter(found)) == "top"
        assert found == {"top": "", "top/sub": "", "top/sub/file": "", "top/link": "sub"}

    def test_a_tar_of_a_file_is_that_file(self, pod: Pod, main):
        if not self.base_layer:
            return
        container = main("echo text > /tmp/file")
        pod.runtime.wait(container, NEVER)

        with (
            pod.runtime.open_tar(container, "/tmp/file") as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            entry = tar.next()
            assert entry is not None
            assert (entry.name, tar.extractfile(entry).read()) == ("file", b"text\n")

    def test_what_it_cannot_read_it_says_is_unsupported(self, pod: Pod, main):
        if self.base_layer:
            return
        container = main("echo text > /tmp/file")
        pod.runtime.wait(container, NEVER)

        with pytest.raises(Unsupported):
            pod.runtime.open_file(container, "/tmp/file").close()
        with pytest.raises(Unsupported), pod.runtime.open_tar(container, "/tmp/file") as stream:
            stream.read()
