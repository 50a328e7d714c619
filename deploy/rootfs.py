"""The executor's root file system, made of what this machine has: no registry is asked.

``python -m deploy.rootfs`` in an environment with the locked dependencies, on Debian, with git, ssh, busybox-static
and CA certificates. What runs is this interpreter, whether it is Debian's or has a prefix of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy import distributions, libraries, tarball

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import PurePosixPath

STORES: Final = ("git", "hdfs", "gcs", "azure", "oss", "ssec")
"""What can be left out; raw, http, artifactory, s3 and what fsspec has by itself are always there."""

UID: Final = 8737
"""The user of the variant that is not root: the number that upstream's has."""

PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
STDLIB: Final = f"usr/lib/{PYTHON}"
SITE: Final = "usr/lib/argoexec"

# ADR 0032. The kernel gives a script's process the script's name, and the interpreter's path as argv[0]: both are
# argoexec, so that every pidof finds it. What it starts with sys.executable must have another name: the
# controller sends SIGUSR2 to all that are called argoexec, and it kills who does not handle it. One that comes before
# `wait` handles it is dropped here: the annotations have not been read yet. A SIGTERM is kept until there is a pod that
# it can stop, also for the first process of a container, where it would be lost; see lifecycle.stopping.held_back.
LAUNCHER: Final = f"""\
#!/usr/libexec/argoexec -IBS
import _signal
import sys

_signal.signal(_signal.SIGUSR2, lambda *_: None)
_signal.pthread_sigmask(_signal.SIG_BLOCK, {{_signal.SIGTERM, _signal.SIGUSR1}})
sys.executable = sys._base_executable = "/usr/bin/{PYTHON}"
sys.path.append("/{SITE}")

from lifecycle.early import begin

begin()  # 50 ms before what follows is imported

from lifecycle.cli import main

sys.exit(main())
"""

# What the controller's exec needs, what git's scripts need, and what a person looking around asks for.
APPLETS: Final = (
    "sh kill pidof "
    "basename cat dirname echo expr printf sed tr uname "
    "awk base64 chmod cmp cp cut date df diff dmesg du env false find grep gunzip gzip head hexdump hostname id less "
    "ln ls md5sum mkdir mktemp more mount mv nc netstat nslookup ping ps pwd readlink realpath rm rmdir sha256sum "
    "sleep sort stat strings tail tar tee test time timeout top touch true uniq vi wc wget which whoami xargs zcat"
)

LINKS: Final = {
    "bin": "usr/bin",
    "sbin": "usr/bin",
    "usr/sbin": "bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "var/run": "../run",
    "usr/bin/python3": PYTHON,
    "usr/libexec/argoexec": f"../bin/{PYTHON}",
    "usr/local/bin/argoexec": "../../bin/argoexec",  # where the original's first images had it
}
DIRECTORIES: Final = ("dev", "etc/ssh", "home/argoexec", "proc", "root", "run", "sys", "usr/lib64", "var/lib", "tmp")
TEXTS: Final = {
    "etc/passwd": f"root:x:0:0:root:/root:/bin/sh\nargoexec:x:{UID}:{UID}::/home/argoexec:/bin/sh\n",
    "etc/group": f"root:x:0:\nargoexec:x:{UID}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_OPENSSL: Final = Path("/etc/ssl/openssl.cnf")
FROM_ETC: Final = {_CERTIFICATES: "ca-certificates", Path("/etc/mime.types"): "media-types", _OPENSSL: ""}
"""Files of this machine, and the Debian package of each that must be there."""

_NOT_OF_STDLIB: Final = shutil.ignore_patterns(
    "site-packages", "dist-packages", "__pycache__", "config-*", "test", "tests", "idlelib", "tkinter", "turtle*",
    "ensurepip", "lib2to3", "pydoc_data", "venv", "sqlite3", "curses", "_test*", "_ctypes_test*", "_xx*", "xx*",
    "_tkinter*", "_sqlite3*", "_curses*", "_dbm*", "_gdbm*", "nis.*", "readline.*", "*.a", "EXTERNALLY-MANAGED",
)  # fmt: skip
_GIT_HELPERS: Final = (
    "git-remote-http", "git-remote-https", "git-submodule", "git-sh-setup", "git-sh-i18n", "git-sh-i18n--envsubst",
    "git-upload-pack",
)  # fmt: skip
# Opened by name: threads end by libgcc_s, names are resolved by the others where glibc is older than 2.34.
_BY_NAME: Final = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
_KERBEROS: Final = "libgssapi_krb5.so.2"


def build_base(
    root: Path, stores: Sequence[str], packages: Sequence[str] = (), known_hosts: Path | None = None
) -> None:
    """Everything but argoexec: the interpreter, the dependencies, the programs, the files of ``/etc``.

    Args:
        root: an empty directory.
        stores: of :data:`STORES`.
        packages: requirements: drivers of others, which are installed in this environment.
        known_hosts: ssh host keys for every git artifact.

    Raises:
        LookupError: something that belongs into it is not on this machine.
    """
    wanted = list(installed(stores, packages))  # before anything is written: one may not be there
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    _interpreter(root)
    for source, path in wanted:
        _copy(source, root / SITE / path)
    _copy(_program("busybox", "busybox-static"), root / "usr/bin/busybox")
    for applet in APPLETS.split():
        (root / "usr/bin" / applet).symlink_to("busybox")
    if "git" in stores:
        _git(root)
    _etc(root, known_hosts)
    for name, target in LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    _libraries(root, by_name=(*_BY_NAME, _KERBEROS) if "hdfs" in stores else _BY_NAME)
    _forget_prefix(root)
    compile_all(root, STDLIB, SITE)


def installed(stores: Sequence[str], packages: Sequence[str] = ()) -> Iterator[tuple[Path, PurePosixPath]]:
    """The files of all dependencies: where each is, and its path below :data:`SITE`; arguments as of a base."""
    # jq is no store, and 1 MiB: whoever has a jqFilter should not have to know of it.
    for distribution in distributions.needed(("jq", *(one for one in stores if one != "git")), packages):
        yield from distributions.files(distribution)


def build_own(root: Path) -> None:
    """Argoexec itself, to be laid over a base."""
    for source, path in distributions.own():
        _copy(source, root / SITE / path)
    for path, text in distributions.own_metadata().items():
        _write(root / SITE / path, text)
    _write(root / "usr/bin/argoexec", LAUNCHER)
    (root / "usr/bin/argoexec").chmod(0o755)
    compile_all(root, SITE)


def compile_all(root: Path, *directories: str) -> None:
    """Byte code beside every source, which is believed whatever the times of files are: those change in an image.

    In one process, whose hashes are not random: what is equal in two runs is then equal in the bytes.
    """
    subprocess.run(
        [sys.executable, "-S", "-P", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash",
         "-s", root, "-p", "/", *(root / one for one in directories)],
        check=True, env=os.environ | {"PYTHONHASHSEED": "0"},
    )  # fmt: skip


def _interpreter(root: Path) -> None:
    program = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    _copy(program, root / "usr/bin" / PYTHON)
    shutil.copytree(Path(os.__file__).parent, root / STDLIB, ignore=_NOT_OF_STDLIB)
    dynload = root / STDLIB / "lib-dynload"
    if not dynload.is_dir():
        raise LookupError(f"{program} has no lib-dynload beside its standard library")


def _git(root: Path) -> None:
    git = _program("git", "git")
    _copy(git, root / "usr/bin/git")
    _copy(_program("ssh", "openssh-client"), root / "usr/bin/ssh")
    home = Path(subprocess.run([git, "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())
    inside = root / home.relative_to("/")
    inside.mkdir(parents=True)
    for name in _GIT_HELPERS:
        one = home / name
        if one.is_symlink():  # to git, or to another helper
            (inside / name).symlink_to(os.readlink(one))
        elif one.exists():  # the scripts are built in by later versions
            _copy(one, inside / name)
    (inside / "git").symlink_to(os.path.relpath(root / "usr/bin/git", inside))
    (root / "usr/share/git-core/templates").mkdir(parents=True)  # without it every `init` warns


def _etc(root: Path, known_hosts: Path | None) -> None:
    for name, text in TEXTS.items():
        _write(root / name, text)
    for source, package in FROM_ETC.items():
        if source.exists():
            _copy(source, root / source.relative_to("/"))
        elif package:
            raise LookupError(f"{source} is not there: install the Debian package {package}")
    # Where OpenSSL itself looks: its directory is compiled in.
    expected = root / ssl.get_default_verify_paths().openssl_cafile.lstrip("/")
    if not expected.exists():
        expected.parent.mkdir(parents=True, exist_ok=True)
        expected.symlink_to(_CERTIFICATES)
        (expected.parent / "openssl.cnf").symlink_to(_OPENSSL)
    if known_hosts:
        _copy(known_hosts, root / "etc/ssh/ssh_known_hosts")


def _libraries(root: Path, by_name: Iterable[str]) -> None:
    """The closure of everything in the tree; a library goes where the loader looks without being told."""
    prefix = Path(sys.base_prefix)
    programs = [path for path in _regular(root) if libraries.is_elf(path)]
    found = libraries.closure(programs, root)
    named = libraries.beside_libc(found, *by_name)
    found |= named | libraries.closure(named, root)
    for path in sorted(found):
        text = str(path)
        if prefix != Path("/usr") and path.is_relative_to(prefix):
            target = root / "usr/lib" / path.name
        elif text.startswith("/lib"):
            target = root / "usr" / text[1:]
        elif text.startswith("/usr/lib"):
            target = root / text[1:]
        else:
            target = root / "usr/lib" / path.name
        _copy(path, target)
    if strip := shutil.which("strip"):
        # An interpreter that somebody built brings 20 MiB of symbols. Those of wheels are left as they are: strip
        # breaks files that were patched after they were linked.
        own = [root / "usr/bin" / PYTHON, *(root / "usr/lib").glob("libpython*"), *(root / STDLIB).rglob("*.so")]
        subprocess.run([strip, "--strip-unneeded", "--enable-deterministic-archives", *own], check=True)


def _forget_prefix(root: Path) -> None:
    """The interpreter's prefix is written into its sources; here it is ``/usr``.

    It stays in its programs: a linker lets one text be the end of another (the version is that of a path that ends with
    it), and the loader goes on to its own directories from one that is not there.
    """
    prefix = sys.base_prefix
    if prefix in {"/usr", "/usr/local"}:
        return
    for path in (root / STDLIB).rglob("*.py"):
        data = path.read_bytes()
        if prefix.encode() in data:
            path.write_bytes(data.replace(prefix.encode(), b"/usr"))


def _regular(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _program(name: str, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise LookupError(f"{name} is not there: install the Debian package {package}")
    return Path(os.path.realpath(found))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) and source.stat().st_mode & 0o100 else 0o644)


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Build it; the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.rootfs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", type=Path, help="the file to write, or the directory with --directory")
    parser.add_argument("--directory", action="store_true", help="a directory instead of a tar")
    parser.add_argument("--image", metavar="NAME:TAG", help="an image for docker load and ctr image import")
    parser.add_argument("--user", default="", metavar="UID:GID", help=f"the image's user, as {UID}:{UID} (root)")
    parser.add_argument("--stores", default=",".join(STORES), help="the optional ones, with commas (%(default)s)")
    parser.add_argument("--packages", default="", help="drivers of others, with spaces, which are installed here")
    parser.add_argument("--known-hosts", type=Path, metavar="FILE", help="ssh host keys for git artifacts")
    args = parser.parse_args(argv)
    stores = [one for one in args.stores.split(",") if one]
    if unknown := set(stores) - set(STORES):
        parser.error(f"no optional store: {', '.join(sorted(unknown))}")
    try:
        with tempfile.TemporaryDirectory(prefix="rootfs-", dir=args.target.absolute().parent) as work:
            base, own, tar = Path(work, "base"), Path(work, "own"), Path(work, "tar")
            build_base(base, stores, args.packages.split(), args.known_hosts)
            build_own(own)
            tarball.pack([base, own], tar)
            if args.directory:
                subprocess.run(["tar", "-xpf", tar, "-C", args.target], check=True)
            elif args.image:
                tarball.image(tar, args.image, args.target, user=args.user)
            else:
                tar.replace(args.target)
    except LookupError as error:
        print(f"rootfs: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
