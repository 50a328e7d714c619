"""What /proc says, by its text: forms of control groups, environments, statuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.errors import BadRequest
from runtimes.processes import Processes, container_ids_of, refusal, status_of
from runtimes.scan import Scan

ID, OTHER = "0123456789abcdef" * 4, "f" * 64
PTRACE, KILL = 1 << 19, 1 << 5


@pytest.mark.parametrize(
    "text",
    [
        f"12:pids:/docker/{ID}\n11:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n",
        f"4:memory:/kubepods/burstable/pod7c6b7b3e-6f0f-4b1c-a8c8-3a4f6f1d2e3a/{ID}\n",
        f"4:memory:/kubepods/pod7c6b7b3e-6f0f-4b1c-a8c8-3a4f6f1d2e3a/{ID}\n",
        f"1:name=systemd:/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod7c6b.slice/docker-{ID}.scope\n",
        f"4:memory:/k8s.io/{ID}\n",
        f"1:cpu:/kubepods.slice/kubepods-pod7c6b.slice/cri-containerd-{ID}.scope\n",
        f"9:pids:/system.slice/containerd.service/kubepods-besteffort-pod7c6b.slice:cri-containerd:{ID}\n",
        f"1:cpu:/kubepods.slice/kubepods-pod7c6b.slice/crio-{ID}.scope\n",
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7c6b.slice/cri-containerd-{ID}.scope\n",
        f"0::/kubepods/burstable/pod7c6b/{ID}\n",
        f"0::/../cri-containerd-{ID}.scope\n",
        f"0::/../../pod9/docker-{ID}.scope\n",
        f"0::/kubepods.slice/kubepods-pod7c6b.slice/crio-{ID}.scope/container\n",
        f"0::/machine.slice/libpod-{ID}.scope/container\n",
        f"0::/docker/{ID}/init.scope\n",
    ],
)
def test_a_container_s_id_is_found_in_every_form(text: str):
    assert container_ids_of(text) == (ID,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/\n",
        "0::/..\n",
        "0::/../..\n",
        "0::/system.slice/docker.service\n",
        f"0::/kubepods.slice/crio-conmon-{ID}.scope\n",
        f"1:cpu:/kubepods/pod7c6b/{ID[:-1]}\n",
        f"1:cpu:/kubepods/pod7c6b/{ID.upper()}\n",
        f"1:cpu:/kubepods/pod7c6b/{ID}.slice\n",
        "nonsense\n",
    ],
)
def test_what_is_no_container_s_id_is_none(text: str):
    assert container_ids_of(text) == ()


def test_the_innermost_container_comes_first():
    # A node that is itself a container, as kind makes them.
    assert container_ids_of(f"1:cpu:/docker/{OTHER}/kubelet/kubepods/pod7c6b/{ID}\n") == (ID, OTHER)


def process(proc: Path, pid: int, parent: int, **files: str | bytes) -> None:
    directory = proc / str(pid)
    directory.mkdir(parents=True)
    text = f"Name:\tsh\nPPid:\t{parent}\nUid:\t0\t0\t0\t0\nCapPrm:\t0\nCapEff:\t0\n"
    for name, content in {"status": text, **files}.items():
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (b"PATH=/bin\0ARGO_CONTAINER_NAME=main\0HOME=/\0", "main"),
        (b"ARGO_CONTAINER_NAME=side\0", "side"),
        (b"ARGO_CONTAINER_NAME=\0", ""),
        (b"X_ARGO_CONTAINER_NAME=main\0Y=ARGO_CONTAINER_NAME=main\0", ""),
        (b"ARGO_CONTAINER_NAME=\xff\0", "\ufffd"),
        (b"PATH=/bin\0", ""),
        (b"", None),
    ],
)
def test_a_container_s_name_is_found_in_its_environment(tmp_path: Path, environ: bytes, name: str | None):
    process(tmp_path, 7, 0, environ=environ)

    assert Processes(str(tmp_path)).container_name(7) == name


def test_a_process_that_is_gone_says_nothing(tmp_path: Path):
    processes = Processes(str(tmp_path))

    assert processes.status(7) is None
    assert processes.container_ids(7) == ()
    assert processes.container_name(7) is None


def test_the_first_process_of_a_container_is_its_oldest_ancestor(tmp_path: Path):
    for pid, parent in ((1, 0), (7, 0), (9, 7), (12, 9)):
        process(tmp_path, pid, parent)

    assert Processes(str(tmp_path)).first(12) == 7


@pytest.mark.parametrize("pid", [1, 4242])
def test_a_namespace_that_is_not_shared_is_told_with_its_remedy(tmp_path: Path, monkeypatch, pid: int):
    """PID 1 is ours, or our parent: nobody's container has joined anything."""
    process(tmp_path, 1, 0)
    process(tmp_path, 4242, 1)
    monkeypatch.setattr("os.getpid", lambda: pid)

    with pytest.raises(BadRequest) as caught:
        Scan(Processes(str(tmp_path)))
    assert "shareProcessNamespace: true" in caught.value.remedy


def test_a_status_is_read_whatever_the_program_is_called():
    text = "Name:\ta b: c\nPPid:\t0\nUid:\t1000\t2000\t0\t0\nCapPrm:\t00000000a80425fb\nCapEff:\t0000000000080000\n"

    status = status_of(text)
    assert (status.name, status.parent, status.uid, status.permitted) == ("a b: c", 0, 2000, 0xA80425FB)
    assert status.effective == PTRACE


@pytest.mark.parametrize("name", ["runc:[1:CHILD]", "runc:[2:INIT]", "crun", "youki:[2:INIT]", "exe"])
def test_a_container_that_is_still_made_is_known_by_its_maker(name: str):
    assert status_of(f"Name:\t{name}\n").sets_up


@pytest.mark.parametrize("name", ["sh", "runc", "exec", "crunch", "python3"])
def test_a_program_is_no_maker(name: str):
    assert not status_of(f"Name:\t{name}\n").sets_up


@pytest.mark.parametrize(
    ("ours", "theirs", "cause", "remedy"),
    [
        ((0, KILL), (0, KILL | 1), "0x1", "add SYS_PTRACE"),
        ((0, KILL), (1000, 0), "main runs as user 1000", "add SYS_PTRACE"),
        ((1000, 0), (0, KILL), "wait runs as user 1000", "the same user"),
        ((1000, 0), (2000, 0), "main as user 2000", "the same user"),
        ((0, PTRACE), (2000, 0), "although wait has SYS_PTRACE", "AppArmor or SELinux"),
    ],
)
def test_what_permission_is_missing_is_told(ours, theirs, cause: str, remedy: str):
    def status(uid: int, capabilities: int):
        text = f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapPrm:\t{capabilities:x}\nCapEff:\t{capabilities:x}\n"
        return status_of(text)

    told, advised = refusal(status(*ours), status(*theirs))
    assert cause in told
    assert remedy in advised


def test_a_hosts_file_that_is_written_makes_the_looks_tight(tmp_path: Path, monkeypatch):
    """By the kubelet, just before it makes a container."""
    monkeypatch.setattr("runtimes.scan._URGENT", 0.0)
    process(tmp_path / "proc", 4242, 0)
    monkeypatch.setattr("os.getpid", lambda: 4242)
    hosts = tmp_path / "hosts"
    hosts.write_text("")
    scan = Scan(Processes(str(tmp_path / "proc")), hosts)
    scan.begin()
    try:
        monkeypatch.setattr("runtimes.scan._URGENT", 60.0)
        with scan.changed:
            while not scan.urgent:
                hosts.write_text("127.0.0.1 localhost\n")  # again, until it is watched
                scan.changed.wait(0.01)
    finally:
        scan.close()
