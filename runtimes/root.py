"""A container's root: the host's directories below layers of its own, the kernel's file systems, the mounts.

Called by :func:`runtimes.namespaces.build` in the container's first process, in its own mount namespace::

    /usr /etc /opt /nix/store      the host's, below a layer in the work dir that takes what is written
    /bin /sbin /lib…               the host's links into /usr, or such layers where they are directories
    /proc /dev /sys                new; new with the six harmless devices; the host's, read-only
    everything else                plain directories of the work dir

What an interpreter start has not loaded is not imported: this is on the way of every container.
"""
# pathlib would be 8 ms of every container's start

from __future__ import annotations

import contextlib
import errno
import os
import stat

from runtimes import kernel
from runtimes.kernel import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtimes.namespaces import Plan

VISIBLE = ("/usr", "/etc", "/opt", "/nix/store", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""What of the host a container sees, in the order it is mounted."""

_SKELETON = {
    "dev": 0o755, "home": 0o755, "media": 0o755, "mnt": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755,
    "run/lock": 0o1777, "srv": 0o755, "sys": 0o555, "tmp": 0o1777, "var": 0o755, "var/cache": 0o755,
    "var/lib": 0o755, "var/log": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}  # fmt: skip
# The machine's root may write these whatever its capabilities are (Docker has the same lists).
_PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_PROC_HIDDEN = ("kcore", "keys", "timer_list")
# What a file in /etc may be a link to, outside of everything visible; without it names do not resolve.
_ETC_LINKS = ("resolv.conf", "hosts", "hostname", "localtime")


class Root:
    """The new root under construction. The working directory is the container's, so names need no escapes."""

    def __init__(self, *, user_namespace: bool) -> None:
        self._user_namespace = user_namespace
        self._path = os.path.abspath("root")
        os.makedirs(self._path, exist_ok=True)
        kernel.mount(self._path, self._path, flags=kernel.MS_BIND | kernel.MS_REC)
        self._fd = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def make_skeleton(self) -> None:
        for name, mode in _SKELETON.items():
            path = f"{self._path}/{name}"
            os.makedirs(path, exist_ok=True)
            os.chmod(path, mode)
        for name, target in (("var/run", "/run"), ("var/lock", "/run/lock")):
            os.symlink(target, f"{self._path}/{name}")

    def show_host(self, plan: Plan) -> None:
        tops = [top for top in VISIBLE if os.path.isdir(top) and not os.path.islink(top)]
        needed = _mount_points(plan, tops)
        secrets = list(_hidden("/etc"))
        for top in VISIBLE:
            if os.path.islink(top) and _is_visible(os.path.realpath(top)):
                os.symlink(os.readlink(top), self._path + top)
            elif os.path.islink(top) and os.path.isdir(top):  # somebody has moved it to another disk
                self.bind(os.path.realpath(top), top, read_only=True)
            elif top in tops:
                under = [one for one in needed if one[0].startswith(top + "/")]
                hide = secrets if top == "/etc" else []
                if not self._overlay(top, under, hide):
                    self.bind(top, top, read_only=True)
                    for path, is_directory in hide:
                        self._cover(path, is_directory=is_directory)
        for name in _ETC_LINKS:
            self._follow("/etc/" + name)

    def _overlay(self, top: str, needed: list[tuple[str, bool]], hidden: list[tuple[str, bool]]) -> bool:
        """The host's directory with a layer of ours on top; false when this file system or kernel cannot."""
        layer = top.strip("/").replace("/", "-")
        upper, work = f"upper/{layer}", f"work/{layer}"
        os.makedirs(upper)
        os.makedirs(work)
        covered = []
        for path, is_directory in needed:
            _make(upper + path[len(top) :], is_directory=is_directory)
        for path, is_directory in hidden:
            place = upper + path[len(top) :]
            _make(place, is_directory=is_directory)
            if is_directory and not self._make_opaque(place):
                covered.append(path)
        options = f"lowerdir={top},upperdir={upper},workdir={work}"
        if self._user_namespace:
            options += ",userxattr"
        target = self._place(top, is_directory=True)
        try:
            # The end of an overlay writes its whole disk's dirty pages out, up to a second of them on a busy one.
            # "volatile" (5.10) leaves that to the disk's own time.
            kernel.mount("overlay", f"/proc/self/fd/{target}", "overlay", kernel.MS_NODEV, options + ",volatile")
        except OSError:
            return False
        finally:
            os.close(target)
        # An overlay shows what is on the host's file system, not what is mounted there.
        for point in _mounts_below(top):
            self.bind(point, point, read_only=True)
        for path in covered:
            self._cover(path, is_directory=True)
        return True

    def _make_opaque(self, place: str) -> bool:
        name = "user.overlay.opaque" if self._user_namespace else "trusted.overlay.opaque"
        try:
            os.setxattr(place, name, b"y")
        except OSError:
            return False
        return True

    def _cover(self, path: str, *, is_directory: bool) -> None:
        _make("empty/" + ("directory" if is_directory else "file"), is_directory=is_directory)
        self.bind("empty/" + ("directory" if is_directory else "file"), path, read_only=True)

    def _follow(self, path: str) -> None:
        """Give a link that leads out of what is visible, as systemd-resolved's does, the file it leads to."""
        if not os.path.islink(path):
            return
        first = os.path.normpath(os.path.join("/etc", os.readlink(path)))
        if not _is_visible(first) and os.path.isfile(path):
            self.bind(os.path.realpath(path), first, read_only=True)

    def make_kernel_mounts(self) -> None:
        plain = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        try:
            kernel.mount("proc", self._path + "/proc", "proc", plain)
        except OSError as error:
            # In a container whose own /proc is masked the kernel refuses a new one: the outer one, then.
            try:
                self.bind("/proc", "/proc", read_only=True)
            except Refusal:
                raise kernel.unsupported(error, "a /proc of its own") from error
        else:
            self._guard_proc()
        with contextlib.suppress(Refusal):
            self.bind("/sys", "/sys", read_only=True)
        kernel.mount("tmpfs", self._path + "/dev", "tmpfs", kernel.MS_NOSUID, "mode=755,size=64k")
        for name in _DEVICES:
            if os.path.exists(f"/dev/{name}"):
                self.bind(f"/dev/{name}", f"/dev/{name}")
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, f"{self._path}/dev/{name}")
        os.mkdir(self._path + "/dev/shm")  # noqa: S108
        kernel.mount("tmpfs", self._path + "/dev/shm", "tmpfs", plain, "mode=1777")  # noqa: S108
        os.mkdir(self._path + "/dev/pts")
        with contextlib.suppress(OSError):
            options = "newinstance,ptmxmode=0666,mode=620"
            kernel.mount("devpts", self._path + "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, options)

    def _guard_proc(self) -> None:
        if self._user_namespace:
            return  # these belong to the machine's root, which nobody in there is
        for name in _PROC_READ_ONLY:
            if os.path.exists(f"{self._path}/proc/{name}"):
                self.bind(f"{self._path}/proc/{name}", f"/proc/{name}", read_only=True)
        for name in _PROC_HIDDEN:
            if os.path.exists(f"{self._path}/proc/{name}"):
                self.bind("/dev/null", f"/proc/{name}")

    def bind(self, source: str, target: str, *, read_only: bool = False) -> None:
        """Show a directory or file of the host at ``target``, which is made if it is not there."""
        try:
            is_directory = stat.S_ISDIR(os.stat(source).st_mode)
        except OSError as error:
            raise Refusal(
                "NotFound", f"what is to be mounted at {target} cannot be read: {source}: {error.strerror}"
            ) from error
        point = self._place(target, is_directory=is_directory)
        try:
            kernel.mount(source, f"/proc/self/fd/{point}", flags=kernel.MS_BIND | kernel.MS_REC)
            if read_only:
                # The descriptor is below the new mount; the name leads to its top.
                top = kernel.open_in_root(self._fd, target, os.O_PATH)
                try:
                    kernel.make_read_only(top)
                finally:
                    os.close(top)
        except OSError as error:
            raise Refusal("Permanent", f"{source} cannot be mounted at {target}: {error.strerror}") from error
        finally:
            os.close(point)

    def make_directory(self, path: str, *, mode: int) -> None:
        try:
            os.close(kernel.open_in_root(self._fd, path, os.O_PATH | os.O_DIRECTORY))
        except FileNotFoundError:
            fd = self._place(path, is_directory=True)
            os.chmod(f"/proc/self/fd/{fd}", mode)
            os.close(fd)
        except OSError as error:
            raise _no_place(path, error) from error

    def _place(self, path: str, *, is_directory: bool) -> int:
        """A descriptor of the path, made with its parents where it is missing, never outside the root."""
        parts = [part for part in path.split("/") if part and part != "."]
        parent = os.dup(self._fd)
        try:
            for depth, part in enumerate(parts, 1):
                here = "/".join(parts[:depth])
                try:
                    child = kernel.open_in_root(self._fd, here, os.O_PATH)
                except FileNotFoundError:
                    if depth < len(parts) or is_directory:
                        os.mkdir(part, dir_fd=parent)
                    else:
                        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=parent))
                    child = kernel.open_in_root(self._fd, here, os.O_PATH)
                os.close(parent)
                parent = child
            if stat.S_ISDIR(os.fstat(parent).st_mode) != is_directory:
                raise OSError(errno.EISDIR if not is_directory else errno.ENOTDIR, "it is of the other kind", path)
        except OSError as error:
            os.close(parent)
            raise _no_place(path, error) from error
        return parent

    def enter(self) -> tuple[int, int]:
        os.fchdir(self._fd)
        try:
            kernel.pivot_root()
        except OSError as error:
            raise kernel.unsupported(error, "a root of its own") from error
        os.close(self._fd)
        mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), mounts


def _mount_points(plan: Plan, tops: list[str]) -> list[tuple[str, bool]]:
    """Mount points below visible directories that the host does not have: they must be there before the
    overlay.
    """
    wanted = [(target, os.path.isdir(source)) for source, target, _ in plan["mounts"]]
    wanted += [(path, True) for path in (*plan["directories"], plan["workdir"])]
    missing = []
    for path, is_directory in wanted:
        # Outside the visible directories the container's names and the host's have nothing in common.
        if _is_visible(os.path.normpath(path)):
            real = os.path.realpath(path)
            if not os.path.lexists(real) and any(real.startswith(top + "/") for top in tops):
                missing.append((real, is_directory))
    return missing


def _hidden(top: str) -> Iterator[tuple[str, bool]]:
    """What not everybody may read below ``top``: path, and whether it is a directory, which is then not
    looked into.
    """
    try:
        entries = list(os.scandir(top))
    except PermissionError:  # an access list forbids what the mode allows
        yield top, True
        return
    for entry in entries:
        if entry.is_symlink():
            continue
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:  # an editor's temporary file
            continue
        if not stat.S_ISDIR(mode):
            if not mode & 0o004:
                yield entry.path, False
        elif mode & 0o005 == 0o005:
            yield from _hidden(entry.path)
        else:
            yield entry.path, True


def _mounts_below(top: str) -> list[str]:
    """The outermost mount points below a directory of the host."""
    points: list[str] = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            # Blanks in names are written as \040 and the like.
            point = os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1"))
            if point.startswith(top + "/") and not any(point.startswith(outer + "/") for outer in points):
                points.append(point)
    return list(dict.fromkeys(points))


def _is_visible(path: str) -> bool:
    return any(path == top or path.startswith(top + "/") for top in VISIBLE)


def _make(path: str, *, is_directory: bool) -> None:
    if is_directory:
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def _no_place(path: str, error: OSError) -> Refusal:
    return Refusal(
        "BadRequest",
        f"{path} cannot be made in the container: {error.strerror}",
        "where a parent of it is read-only (a read-only volume, or a directory of the host where the file "
        "system of the work dir has no overlays), choose another path",
    )
