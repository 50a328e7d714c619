"""Containers as real processes: what they can do, what they see, and what they leave on the machine (nothing)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from lifecycle.clock import NEVER
from lifecycle.errors import BadRequest, InputError
from lifecycle.ports import Container, ContainerSpec, Mount
from runtimes.sandbox import LocalSandbox
from tests.runtimes.conftest import HOLD

pytestmark = pytest.mark.sandbox


# --- how they end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("no-such-command", 127),
        ("echo > /tmp/plain; /tmp/plain", 126),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ],
)
def test_it_ends_as_its_command_does(pod, script: str, code: int):
    assert pod.run(script).code == code


def test_sleep_ends_by_term_at_once(pod):
    """It would not as PID 1, which gets no signal it has no handler for."""
    main = pod.start("main", "sleep", "100000")
    pod.runtime.signal(main, signal.SIGTERM)

    assert pod.end(main).code == 143


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGUSR2, signal.SIGRTMIN + 3])
def test_every_signal_is_passed_on(pod, number: int):
    main = pod.start_script("main", f"trap 'exit 9' {number - 0}; echo ready; while :; do sleep 0.01; done")
    pod.await_output("main", "ready")
    pod.runtime.signal(main, number)

    assert pod.end(main).code == 9


def test_signals_are_not_ignored_because_python_or_nohup_does(pod):
    assert pod.run("grep SigIgn /proc/self/status").code == 0
    # 32 and 33 are the C library's own: it lets nobody set them, so they are as whoever started us had them.
    assert int(pod.output().split()[1], 16) & ~(0b11 << 31) == 0


def test_what_the_command_leaves_behind_is_killed(pod, volume, held_open):
    main = pod.start_script("main", f"{HOLD}; sleep 100000 & exit 4", {"/v": volume})
    held_open.begin()

    assert pod.end(main).code == 4
    held_open.end()


def test_orphans_of_a_running_command_are_reaped(pod):
    script = """
        (sh -c 'exit 0' &)
        while [ "$(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z ')" != 0 ]; do sleep 0.01; done
        echo none
    """
    assert pod.run(script).code == 0
    assert pod.output() == b"none\n"


def test_it_dies_with_the_shim(pod, volume, held_open):
    main = pod.start_script("main", f"{HOLD}; exec sleep 100000", {"/v": volume})
    held_open.begin()
    started = pod.runtime._started(main)[1]
    os.kill(started.shim.pid, signal.SIGKILL)

    held_open.end()
    assert (pod.end(main).code, pod.end(main).reason) == (137, "lost")
    assert pod.runtime.others() == []


def test_closing_kills_everything(pod, volume, held_open):
    for name in ("main", "side"):
        pod.start_script(name, f"trap '' TERM; {HOLD}; sleep 100000", {"/v": volume})
    held_open.begin(holders=2)
    pod.sandbox.close()

    held_open.end()


# --- output -----------------------------------------------------------------------------------------------------


def test_stdout_is_apart_and_combined_is_in_order(pod):
    assert pod.run("echo one; echo two >&2; printf three").code == 0
    assert pod.output() == b"one\nthree"
    assert pod.output(combined=True) in (b"one\ntwo\nthree", b"one\nthreetwo\n")


def test_the_order_of_arrival_is_kept(pod, volume):
    os.mkfifo(volume / "go")
    os.chmod(volume / "go", 0o666)
    script = "echo first >&2; read _ < /v/go; echo second; read _ < /v/go; echo third >&2"
    main = pod.start_script("main", script, {"/v": volume})
    with (volume / "go").open("r+b", buffering=0) as go:  # open throughout: its end must not be read as an answer
        for line in ("first", "second"):
            pod.await_output("main", line)
            go.write(b"go\n")
        assert pod.end(main).code == 0  # what nobody has read is lost when nobody has it open

    assert pod.output(combined=True) == b"first\nsecond\nthird\n"


def test_binary_output_is_exact(pod, volume):
    blob = os.urandom(5 << 20)
    (volume / "blob").write_bytes(blob)
    main = pod.start_script("main", "cat /v/blob; echo end >&2", {"/v": volume})
    pod.end(main)

    assert pod.output() == blob
    assert pod.output(combined=True) == blob + b"end\n"


def test_lines_are_echoed_as_they_come(pod):
    pod.run("echo one; echo two; printf unfinished")
    pod.sandbox.close()

    assert pod.written["main"] == [b"one", b"two", b"unfinished"]


def test_without_an_echo_output_is_kept_all_the_same(tmp_path):
    sandbox = LocalSandbox(tmp_path / "pod", "pod-1")
    status = sandbox.run_init(ContainerSpec("init", ("echo", "text"), {}), NEVER)
    sandbox.close()

    assert status.code == 0
    assert (tmp_path / "pod/containers/init/stdout").read_bytes() == b"text\n"


def test_output_can_be_written_through_dev_stdout(pod):
    assert pod.run("echo out > /dev/stdout; echo err > /dev/stderr", user=1000, group=1000).code == 0
    assert pod.output() == b"out\n"
    assert sorted(pod.output(combined=True).split()) == [b"err", b"out"]


def test_stdin_is_empty(pod):
    assert pod.run("cat").code == 0


# --- what cannot be started -------------------------------------------------------------------------------------


def test_a_command_that_is_not_there_is_named_with_the_path(pod):
    with pytest.raises(BadRequest, match=r"no-such-command.*PATH=/opt/tool:/usr/bin") as caught:
        pod.start("main", "no-such-command", env={"PATH": "/opt/tool:/usr/bin"})
    assert "--runtime docker" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("#!/bin/sh\n", 0o644, "/v/program is not executable"),
        ("#!/no/such/interpreter\n", 0o755, "interpreter"),
        ("echo\n", 0o755, "Exec format error"),
    ],
)
def test_a_file_that_cannot_be_executed_is_named(pod, volume, content: str, mode: int, message: str):
    (volume / "program").write_text(content)
    (volume / "program").chmod(mode)

    with pytest.raises(BadRequest) as caught:
        pod.start("main", "/v/program", mounts=(Mount(volume, "/v"),))
    assert message in f"{caught.value.message} {caught.value.remedy}"


def test_too_many_arguments_are_refused_with_advice(pod):
    with pytest.raises(BadRequest, match="Argument list too long") as caught:
        pod.start("main", "echo", *["x" * 100_000] * 40)
    assert "as files" in caught.value.remedy


@pytest.mark.parametrize("name", ["", "../x", "a/b", "."])
def test_a_name_cannot_leave_the_pod_directory(pod, name: str):
    with pytest.raises(InputError):
        pod.start(name, "true")


def test_a_name_is_used_once(pod):
    pod.run("exit 0")
    with pytest.raises(BadRequest, match="already"):
        pod.start("main", "true")


# --- what they see ----------------------------------------------------------------------------------------------


def test_nothing_of_the_host_is_written(pod, tmp_path):
    marker = f"marker-{tmp_path.name}-{os.getpid()}"
    places = [
        "",
        "/etc",
        "/usr",
        "/opt",
        "/tmp",
        "/var",
        "/var/tmp",
        "/run",
        "/root",
        "/home",
        "/mnt",
        "/srv",
        "/dev/shm",
    ]
    status = pod.run(" && ".join(f"echo {place} > {place}/{marker}" for place in places))

    assert (status.code, pod.output(combined=True)) == (0, b"")
    for place in places:
        assert pod.file(f"{place}/{marker}") == f"{place}\n".encode()
    assert [place for place in places if os.path.exists(f"{place}/{marker}")] == []


def test_existing_files_of_the_host_stay_as_they_are(pod):
    before = Path("/etc/passwd").read_bytes()
    pod.run("mv /etc/passwd /etc/gone; rm -rf /etc/* /usr/bin/e*; :")

    assert Path("/etc/passwd").read_bytes() == before
    assert Path("/usr/bin/env").exists()


def test_secrets_of_the_host_are_not_there(pod):
    """Whatever not everybody may read in /etc is empty, so that all of it can be read, and saved."""
    script = """
        cat /etc/shadow /etc/gshadow
        find /etc -type f ! -readable; find /etc -type d ! -executable
        ls -A /etc/ssl/private /etc/sudoers.d 2>/dev/null | grep -v '^/etc\\|^$'
    """
    pod.run(script)
    assert pod.output() == b""
    with pod.runtime.open_tar(Container("main"), "/etc") as stream:
        assert len(stream.read()) > 10_000


def test_names_resolve_as_on_the_host(pod):
    assert pod.run("cat /etc/resolv.conf").code == 0
    assert pod.output() == Path("/etc/resolv.conf").read_bytes()


def test_the_python_of_this_program_is_there_where_no_other_is(pod):
    main = pod.start("main", "python", "-c", "import json, ssl; print(json.dumps([1]))", env={"PATH": "/nowhere"})

    assert pod.end(main).code == 0, pod.output(combined=True)
    assert pod.output() == b"[1]\n"


def test_a_python_of_the_machine_comes_first(pod, volume):
    (volume / "python3").write_text("#!/bin/sh\necho mine\n")
    (volume / "python3").chmod(0o755)
    pod.end(pod.start("main", "python3", env={"PATH": "/v:/usr/bin"}, mounts=(Mount(volume, "/v"),)))

    assert pod.output() == b"mine\n"


def test_the_environment_is_what_was_asked_for(pod, monkeypatch):
    monkeypatch.setenv("HOST_SECRET", "secret")
    pod.run("env; tr '\\0' '\\n' < /proc/1/environ 2>/dev/null", env={"A": "1 2", "PATH": "/usr/bin:/bin"})
    seen = dict(line.split("=", 1) for line in pod.output().decode().splitlines())

    assert seen.pop("PATH").startswith("/usr/bin:/bin:")
    seen.pop("PWD", None)  # the shell's own
    assert seen == {"A": "1 2", "HOME": "/root", "HOSTNAME": "pod-1"}


def test_values_of_the_environment_are_not_on_disk(pod):
    pod.run("exit 0", env={"TOKEN": "s3cr3t-value"})
    pod.close()

    found = subprocess.run(["grep", "-r", "s3cr3t-value", str(pod.directory)], capture_output=True, check=False)
    assert found.stdout == b""


def test_the_host_name_is_the_pod_s(pod):
    pod.run("cat /proc/sys/kernel/hostname")
    assert pod.output() == b"pod-1\n"


def test_localhost_is_shared(pod):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port})).sendall(b'hello')"
        main = pod.start("main", "python3", "-c", code)
        with server.accept()[0] as connection:
            assert connection.recv(5, socket.MSG_WAITALL) == b"hello"
    assert pod.end(main).code == 0


def test_processes_of_the_machine_are_not_seen(pod):
    pod.run("cd /proc; echo [0-9]*")
    assert pod.output().split()[:2] == [b"1", b"2"]
    assert len(pod.output().split()) <= 3


def test_devices_are_the_harmless_ones(pod):
    script = """
        for name in null zero full random urandom tty; do [ -c /dev/$name ] || echo no $name; done
        head -c 4 /dev/zero | wc -c
        [ -d /dev/shm ] && [ -d /dev/pts ] && echo text > /dev/shm/file
        ls /dev | grep -v '^\\(fd\\|full\\|null\\|ptmx\\|pts\\|random\\|shm\\|std.*\\|tty\\|urandom\\|zero\\)$'
    """
    pod.run(script)
    assert pod.output(combined=True) == b"4\n"


def test_sys_can_be_read_and_not_written(pod):
    pod.run("ls /sys/kernel > /dev/null && echo read; touch /sys/kernel/x 2>/dev/null || echo refused")
    assert pod.output() == b"read\nrefused\n"


@pytest.mark.root
def test_root_cannot_reach_the_machine(pod):
    script = """
        mknod /tmp/disk b 8 0 2>/dev/null || echo no device
        mount -t tmpfs none /mnt 2>/dev/null || echo no mount
        (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo no sysctl
    """
    pod.run(script)
    assert pod.output() == b"no device\nno mount\nno sysctl\n"


@pytest.mark.parametrize(
    ("user", "group", "seen"), [(None, None, "0 0"), (0, 0, "0 0"), (1000, None, "1000 0"), (7, 8, "7 8")]
)
def test_the_user_is_the_one_asked_for(pod, user, group, seen: str):
    """Also for an ordinary user, who can map one id: that becomes it."""
    pod.run(
        'echo "$(id -u) $(id -g)"; touch /tmp/mine && echo text > /outputs/x/file',
        user=user,
        group=group,
        directories=("/outputs/x",),
    )

    assert pod.output() == f"{seen}\n".encode()
    assert pod.file("/outputs/x/file") == b"text\n"


def test_the_working_directory_is_made(pod):
    pod.run("pwd; echo text > file", workdir="/work/deep/dir")

    assert pod.output() == b"/work/deep/dir\n"
    assert pod.file("/work/deep/dir/file") == b"text\n"
