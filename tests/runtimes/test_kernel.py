"""Where the kernel refuses, and as whom the sandbox works."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runtimes import kernel

REPOSITORY = Path(kernel.__file__).parent.parent
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def _python_for_everybody() -> str:
    """An interpreter that an ordinary user can start; ours may be in root's home directory."""
    check = [*NOBODY, "/usr/bin/python3", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    if shutil.which("setpriv") is None or subprocess.run(check, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs setpriv and a /usr/bin/python3 of at least 3.11")
    return "/usr/bin/python3"


@pytest.fixture
def for_everybody():
    """A directory that others may enter; pytest's own are for their owner only."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


SANDBOXED = {"test_containers.py", "test_held_root.py", "test_local_conformance.py", "test_mounts.py", "test_kernel.py"}


@pytest.mark.root
@pytest.mark.sandbox
@pytest.mark.slow
def test_everything_works_as_an_ordinary_user(for_everybody: Path):
    """All these tests again, in a user namespace."""
    python = _python_for_everybody()
    base = for_everybody
    code = base / "code"

    # The other adapters need clients, which that Python has not, and no sandbox.
    def ignore(directory: str, names: list[str]) -> list[str]:
        others = {name for name in names if name.startswith("test_")} if directory.endswith("tests/runtimes") else set()
        return [*(others - SANDBOXED), "__pycache__", "pns"]

    for package in ("lifecycle", "runtimes", "tests/runtimes", "tests/conformance"):
        shutil.copytree(REPOSITORY / package, code / package, ignore=ignore)
    (code / "tests/__init__.py").touch()
    for package in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"):
        spec = importlib.util.find_spec(package)
        shutil.copytree(Path(spec.origin).parent, code / package, ignore=ignore)
    shutil.copy(importlib.util.find_spec("py").origin, code)
    subprocess.run(["chmod", "-R", "a+rX", str(base)], check=True)
    work = base / "work"
    work.mkdir(mode=0o777)
    os.chown(work, 65534, 65534)

    options = ["-q", "-p", "no:cacheprovider", "-W", "error", "-c", "/dev/null", "--rootdir", str(code)]
    select = ["-m", "sandbox and not root", "--basetemp", str(work / "base"), "-o", "markers=sandbox\nroot\nslow"]
    done = subprocess.run(
        [*NOBODY, python, "-m", "pytest", *options, *select, str(code / "tests/runtimes")],
        cwd=work, text=True, capture_output=True, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(code), "HOME": str(work), "TMPDIR": str(work),
             "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert "passed" in summary
    assert "skipped" not in summary, done.stdout


def test_the_refusal_names_the_switch():
    """A user namespace in which no other may be made stands in for a machine that forbids them."""
    code = "from runtimes import kernel; print(kernel.sandbox_refusal())"
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c "$1"'
    made = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"needs unshare and user namespaces: {made.stderr.strip()}")

    assert "sysctl -w user.max_user_namespaces=10000" in made.stdout
    assert "--runtime docker" in made.stdout


@pytest.mark.sandbox
def test_a_refused_start_says_what_to_allow(tmp_path):
    code = f"""if True:
        from pathlib import Path
        from lifecycle.errors import Unsupported
        from lifecycle.ports import ContainerSpec
        from runtimes.sandbox import LocalSandbox
        sandbox = LocalSandbox(Path({str(tmp_path / "pod")!r}), "pod-1")
        try:
            sandbox.start(ContainerSpec("main", ("true",), {{}}))
        except Unsupported as error:
            print(error.message, "--", error.remedy)
        sandbox.close()
    """
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c "$1"'
    made = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True, capture_output=True, check=False,
    )  # fmt: skip

    assert made.returncode == 0, made.stderr
    assert "the kernel refuses new namespaces" in made.stdout
    assert "sysctl -w user.max_user_namespaces=10000" in made.stdout


@pytest.mark.sandbox
def test_root_of_a_rootless_container_is_an_ordinary_user(tmp_path):
    """It has the capabilities of root, but not all ids."""
    code = f"""if True:
        from pathlib import Path
        from lifecycle.clock import NEVER
        from lifecycle.ports import ContainerSpec
        from runtimes import kernel
        from runtimes.sandbox import LocalSandbox
        assert not kernel.is_admin()
        sandbox = LocalSandbox(Path({str(tmp_path / "pod")!r}), "pod-1")
        print(sandbox.run_init(ContainerSpec("init", ("touch", "/usr/new"), {{}}), NEVER).code)
        sandbox.close()
    """
    made = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True, capture_output=True, check=False,
    )  # fmt: skip

    assert (made.returncode, made.stdout) == (0, "0\n"), made.stderr


@pytest.mark.root
@pytest.mark.sandbox
def test_without_overlays_the_host_is_read_only(tmp_path):
    """As in a Docker container: its root is an overlay, on which no other can write."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    script = """
        test ! -s /etc/shadow && echo hidden; ls -A /etc/ssl/private 2>/dev/null
        touch /usr/new 2>/dev/null || echo read-only
        echo text > /tmp/x && cat /tmp/x
    """
    code = f"""if True:
        from pathlib import Path
        from lifecycle.clock import NEVER
        from lifecycle.errors import BadRequest
        from lifecycle.ports import ContainerSpec, Mount
        from runtimes.sandbox import LocalSandbox
        pod = Path("merged/pod").absolute()
        sandbox = LocalSandbox(pod, "pod-1")
        sandbox.run_init(ContainerSpec("init", ("sh", "-c", {script!r}), {{}}), NEVER)
        print((pod / "containers/init/combined").read_text())
        try:
            sandbox.start(ContainerSpec("main", ("true",), {{}}, mounts=(Mount(Path("/etc/passwd"), "/bin/new"),)))
        except BadRequest as error:
            print(error.message, "--", error.remedy)
        sandbox.close()
    """
    mount = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged"
    made = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True, capture_output=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("hidden\nread-only\ntext\n")
    assert "/bin/new cannot be made" in made.stdout
    assert "no overlays" in made.stdout


@pytest.mark.root
@pytest.mark.sandbox
def test_where_proc_is_masked_the_outer_one_is_shown(tmp_path):
    """As in a container: the kernel gives no new /proc to who does not see all of the old one."""
    code = f"""if True:
        from pathlib import Path
        from lifecycle.clock import NEVER
        from lifecycle.ports import ContainerSpec
        from runtimes.sandbox import LocalSandbox
        sandbox = LocalSandbox(Path({str(tmp_path / "pod")!r}), "pod-1", lambda _, line: print(line.decode()))
        spec = ContainerSpec("init", ("sh", "-c", "cat /proc/self/comm; echo out > /dev/stdout; exit 3"), {{}})
        print(sandbox.run_init(spec, NEVER).code)
        sandbox.close()
    """
    mask = 'mount -t tmpfs none /proc/irq && exec unshare -Ur "$0" -c "$1"'
    made = subprocess.run(
        ["unshare", "-m", "sh", "-c", mask, sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True, capture_output=True, check=False,
    )  # fmt: skip

    assert sorted(made.stdout.split()) == ["3", "cat", "out"], made.stdout + made.stderr


@pytest.mark.sandbox
def test_kernels_before_5_12_make_the_top_mount_read_only(tmp_path):
    code = """if True:
        import os
        from runtimes import kernel
        kernel._SYS_MOUNT_SETATTR = 9999
        kernel.mount("tmpfs", ".", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
        fd = os.open(os.getcwd(), os.O_PATH)
        kernel.make_read_only(fd)
        flags = os.fstatvfs(fd).f_flag
        print(bool(flags & os.ST_RDONLY), bool(flags & os.ST_NOSUID), bool(flags & os.ST_NODEV))
    """
    made = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True, capture_output=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert made.stdout == "True True True\n", made.stderr
