"""What the kernel allows in a process namespace that containers share, on real containers."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tarfile
import threading

import pytest

from lifecycle.clock import NEVER
from lifecycle.errors import BadRequest, Forbidden, LifecycleError, MainNotStarted, NotFound, Unsupported
from lifecycle.ports import Container, ExitStatus
from runtimes import exits
from tests.conformance.runtime import FOR_EVER
from tests.servers.dockerd import NOTICES_MEMORY

pytestmark = [pytest.mark.root, pytest.mark.server("docker")]

V3 = ("-e", "ARGO_CONTAINER_NAME=main")
DEFAULT = "+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot"


def only(*capabilities: str) -> str:
    """Options of setpriv: root with these and no others."""
    return f"--inh-caps=-all --bounding-set={','.join(['-all', *capabilities])}"


def content(agent, container: Container, path: str) -> bytes:
    with agent.open_file(container, path) as stream:
        return stream.read()


# --- main's root ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("main", "who", "readable"),
    [
        pytest.param("0", {"privileges": only(DEFAULT, "+mknod,+audit_write,+setfcap")}, True, id="root-root-default"),
        pytest.param("0", {"privileges": only()}, False, id="root-root-none"),
        pytest.param("0", {"privileges": only("+sys_ptrace")}, True, id="root-root-ptrace"),
        pytest.param("1000", {"privileges": only(DEFAULT)}, False, id="1000-root-default"),
        pytest.param("2000", {"privileges": only(DEFAULT)}, False, id="2000-root-default"),
        pytest.param("1000", {"privileges": only(DEFAULT, "+sys_ptrace")}, True, id="1000-root-ptrace"),
        pytest.param("1000:1000", {"user": 1000}, True, id="1000-1000"),
        pytest.param("0", {"user": 1000}, False, id="root-1000"),
        pytest.param("2000", {"user": 1000}, False, id="2000-1000"),
    ],
)
def test_who_may_read_main_s_root(pod, main: str, who, readable: bool):
    """The table of ptrace's access checks: where it is refused, the remedy comes while main runs."""
    agent = pod.agent(**who)
    pod.start_script("main", f"echo text > /tmp/file; echo written; {FOR_EVER}", None, "--user", main)
    container = agent.find_main(NEVER)
    said = agent.said()
    pod.await_output("main", "written")

    if readable:
        assert said == []
        assert content(agent, container, "/tmp/file") == b"text\n"
        return
    expected = "run both as the same user" if "user" in who else "add SYS_PTRACE to the securityContext.capabilities"
    assert len(said) == 1
    assert expected in said[0]
    with pytest.raises(Forbidden) as caught:
        agent.open_file(container, "/tmp/file")
    assert expected in caught.value.remedy


def test_a_volume_that_a_link_leads_to_is_there_after_the_end(pod, tmp_path):
    """What is mounted below main's root is held as well: alone, the root's descriptor would show empty directories."""
    (tmp_path / "volume").mkdir()
    agent = pod.agent()
    script = "echo text > /v/file; ln -s /v/file /tmp/link; mkdir /tmp/out; ln -s ../../v /tmp/out/v"
    pod.start_script("main", script, {"/v": tmp_path / "volume"})
    container = agent.find_main(NEVER)
    agent.wait(container, NEVER)

    assert content(agent, container, "/tmp/link") == b"text\n"
    with agent.open_tar(container, "/v") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        assert [one.name for one in tar] == ["v", "v/file"]


def test_links_that_are_exchanged_while_they_are_read_do_not_lead_out(pod, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the node's")
    agent = pod.agent()
    up = "../" * 20
    pod.start_script("main", f"""
        mkdir -p /tmp/a{tmp_path} /tmp/b; echo main > /tmp/whole; mv /tmp/whole /tmp/a{secret}; ln -s {up} /tmp/b/out
        while :; do mv /tmp/a /tmp/c; ln -s {up} /tmp/a; rm /tmp/a; mv /tmp/c /tmp/a; done
    """)  # fmt: skip
    container = agent.find_main(NEVER)
    seen = set()
    for number in range(400):
        try:
            seen.add(content(agent, container, f"/tmp/{'a' if number % 2 else 'b/out'}{secret}"))
        except NotFound:
            seen.add(b"nothing")

    assert seen <= {b"main\n", b"nothing"}
    assert b"main\n" in seen


def test_a_container_that_cannot_be_made_never_shows_the_node_s_files(pod, tmp_path):
    """Its process begins in the node's root; the command that is not there is found out after it has left that.

    Whether it is seen or not: how its maker ended is not how main did.
    """
    (tmp_path / "secret").write_text("the node's")
    agent = pod.agent()
    with pytest.raises(RuntimeError, match="no-such-command"):
        pod.start_script("main", "", None, "--entrypoint", "no-such-command")
    pod.api.set("main", pod.id("main"), terminated={"exitCode": 127, "reason": "ContainerCannotRun"})
    container = agent.find_main(NEVER)

    assert agent.wait(container, NEVER) == ExitStatus(127, "ContainerCannotRun")
    with pytest.raises((NotFound, Unsupported)):
        agent.open_file(container, str(tmp_path / "secret"))


def test_a_main_that_ended_before_wait_began_has_an_exit_code_and_no_files(pod):
    made = pod.start_script("main", "echo text > /tmp/file; exit 4")
    pod.await_end(made.id)
    agent = pod.agent()
    container = agent.find_main(NEVER)

    assert agent.wait(container, NEVER).code == 4
    with pytest.raises(Unsupported, match="had ended when it was looked for"):
        agent.open_file(container, "/tmp/file")
    assert ["outputs can be saved from volumes only" in line for line in agent.said()] == [True]


@pytest.mark.parametrize("calm", [False, True])
def test_a_main_that_ends_at_once_is_held_also_after_a_long_wait(pod, calm: bool):
    """Calm is how it looks after 15 s; upstream gave up after a minute (spec 7.3 #71)."""
    agent = pod.agent(calm=calm)
    pod.start_script("main", "echo text > /tmp/file")
    container = agent.find_main(NEVER)

    assert agent.wait(container, NEVER).code == 0
    assert content(agent, container, "/tmp/file") == b"text\n"


@pytest.mark.slow
def test_how_many_mains_are_lost_that_end_within_milliseconds(pod, capsys):
    """No kernel promises that a process is seen before it ends; that it is found, and how it ended, is promised."""
    agent, rounds, lost = pod.agent(), 200, []
    for number in range(rounds):
        made = pod.start_script("main", f"echo {number} > /tmp/file; exit {number % 3}", tell=False)
        pod.await_end(made.id)
        pod.api.set("main", made.id, terminated={"exitCode": number % 3, "reason": ""})
        container = agent.find_main(NEVER)
        assert agent.wait(container, NEVER) == ExitStatus(number % 3)
        try:
            assert content(agent, container, "/tmp/file") == b"%d\n" % number
        except Unsupported:
            lost.append(number)
        pod.remove("main")
        pod.api.clear()
        agent.forget()

    with capsys.disabled():
        print(f"\npns: of {rounds} mains that ended at once, the roots of {len(lost)} were lost")
    assert len(lost) < rounds


# --- which process is main --------------------------------------------------------------------------------------------


def test_a_controller_s_name_for_main_needs_no_api_server(pod):
    """From v3.0 on it is in the environment, and there before the kubelet has told anybody that main runs."""
    agent = pod.agent("-")
    pod.start_script("side", FOR_EVER, None, "-e", "ARGO_CONTAINER_NAME=side", tell=False)
    made = pod.start_script("main", FOR_EVER, None, *V3, tell=False)

    assert agent.find_main(NEVER) == Container("main", made.id)
    assert [one.name for one in agent.others()] == ["side"]


def test_where_the_pod_may_not_be_watched_the_only_container_is_main(pod):
    pod.api.forbidden = True
    agent = pod.agent()
    made = pod.start_script("main", "exit 3", tell=False)
    container = agent.find_main(NEVER)

    assert container == Container("main", made.id)
    assert ["on `pods` to" in line for line in agent.said()] == [True]
    assert agent.wait(container, NEVER) == (ExitStatus(3) if exits._is_known() else ExitStatus(0, "exit code unknown"))


def test_several_that_may_be_main_are_an_error_with_a_remedy(pod):
    pod.api.forbidden = True
    for name in ("one", "another"):
        pod.start_script(name, FOR_EVER, tell=False)

    with pytest.raises(BadRequest) as caught:
        pod.agent().find_main(NEVER)
    assert "grant `watch` on `pods`" in caught.value.remedy


def test_a_main_that_the_kubelet_has_given_up_on_is_told(pod):
    pod.api.set("main", "", waiting={"reason": "ErrImageNeverPull", "message": "no such image"})

    with pytest.raises(MainNotStarted, match="no such image"):
        pod.agent().find_main(NEVER)


def test_ids_are_found_from_a_control_group_namespace_of_our_own(pod):
    """As in pods with control groups v2: another container's path begins with /.. there."""
    agent = pod.agent("-", cgroup=True)
    made = pod.start_script("main", FOR_EVER, None, *V3, tell=False)

    assert agent.find_main(NEVER) == Container("main", made.id)


# --- signals, ends, others --------------------------------------------------------------------------------------------


def test_a_number_that_is_another_process_s_now_is_left_alone(pod):
    """Its pidfd is still main's, which has ended; the number is that of a sidecar."""
    agent = pod.agent()
    pod.start_script("main", "exit 6")
    container = agent.find_main(NEVER)
    agent.wait(container, NEVER)
    number = agent.main_pid()
    pod.in_namespace(f"echo {number - 1} > /proc/sys/kernel/ns_last_pid")
    side = pod.start_script("side", FOR_EVER)
    assert pod.number(side) == number

    agent.signal(container, signal.SIGKILL)
    assert agent.wait(container, NEVER).code == 6
    assert agent.others() == [side]
    agent.signal(side, signal.SIGKILL)
    assert agent.wait(side, NEVER).code == 137


def test_what_runs_beside_a_container_s_own_process_is_no_container(pod):
    """Exec, as `kubectl exec` and the controllers' signals do."""
    agent = pod.agent()
    pod.start_script("main", f"mkfifo /tmp/told; cat /tmp/told; {FOR_EVER}")
    container = agent.find_main(NEVER)
    pod.start_script("side", FOR_EVER)
    pod.exec("main", "until test -p /tmp/told; do :; done; echo there > /tmp/told; sleep 100000")
    pod.await_output("main", "there")

    assert [one.name for one in agent.others()] == ["side"]
    agent.signal(container, signal.SIGKILL)
    assert agent.wait(container, NEVER).code == 137


def test_a_container_that_nobody_has_named_yet_is_called_by_its_id(pod):
    pod.api.forbidden = True
    agent = pod.agent()
    pod.start_script("main", FOR_EVER, None, *V3, tell=False)
    agent.find_main(NEVER)
    side = pod.start_script("side", FOR_EVER, tell=False)

    assert agent.others() == [Container(side.id[:12], side.id)]


def test_a_sidecar_s_name_is_waited_for(pod):
    """The kubelet tells it a second after the container has started; a proxy must not be killed as a stranger."""
    agent = pod.agent()
    pod.start_script("main", FOR_EVER, None, *V3)
    agent.find_main(NEVER)
    proxy = pod.start_script("istio-proxy", FOR_EVER, tell=False)
    found = []
    asking = threading.Thread(target=lambda: found.extend(agent.others()))
    asking.start()
    pod.tell("istio-proxy", proxy.id)
    asking.join()

    assert found == [proxy]


def test_another_user_s_container_cannot_be_signalled_without_the_capability(pod):
    agent = pod.agent(user=1000)
    pod.start_script("main", FOR_EVER)
    container = agent.find_main(NEVER)

    with pytest.raises(Forbidden) as caught:
        agent.signal(container, signal.SIGTERM)
    assert "capability KILL" in caught.value.remedy


def test_a_main_that_the_kernel_killed_for_its_memory_has_that_reason(pod):
    agent = pod.agent()
    for _ in range(NOTICES_MEMORY):
        pod.start_script("main", "tail /dev/zero", None, "--memory", "16m", "--memory-swap", "16m")
        status = agent.wait(agent.find_main(NEVER), NEVER)
        if status == ExitStatus(137, "OOMKilled"):
            break
        assert status == ExitStatus(137)
        assert pod.api.statuses["main"]["state"]["terminated"]["reason"] == "Error"
        pod.remove("main")
        pod.api.clear()
        agent.forget()
    else:
        pytest.fail("no end by memory was told as one")


def test_without_an_api_server_the_kernel_tells_how_main_ended(pod):
    agent = pod.agent()
    pod.start_script("main", "kill -TERM $$", None, *V3)
    container = agent.find_main(NEVER)
    pod.api.forbidden = True

    assert agent.wait(container, NEVER).code == 143


def test_output_without_an_api_server_is_an_error(pod):
    agent = pod.agent("-")
    pod.start_script("main", "echo text", None, *V3, tell=False)

    with pytest.raises(LifecycleError, match="no API server"):
        agent.open_output(agent.find_main(NEVER), combined=True)


def test_that_stdout_is_not_told_apart_is_said_once(pod):
    agent = pod.agent()
    pod.start_script("main", "echo out; echo error >&2", None, *V3)
    container = agent.find_main(NEVER)
    agent.wait(container, NEVER)
    for combined in (True, False, False):
        with agent.open_output(container, combined=combined) as stream:
            assert sorted(stream.read().splitlines()) == [b"error", b"out"]

    assert ["not told apart" in line for line in agent.said()] == [True]


def test_everything_is_let_go_of_at_the_end(pod):
    agent = pod.agent("-")
    descriptors = []
    for _ in range(2):  # the first time, modules are loaded
        pod.start_script("main", "exit 0", None, *V3, tell=False)
        agent.wait(agent.find_main(NEVER), NEVER)
        agent.forget()
        pod.remove("main")
        descriptors.append(agent.descriptors())

    assert len(set(descriptors)) == 1


def test_it_refuses_a_namespace_of_its_own():
    """This process's: its oldest ancestor is the machine's first process."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    code = "from runtimes.pns import NamespaceRuntime; NamespaceRuntime(None, None)"
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "BadRequest: pns cannot see the other containers" in done.stderr
