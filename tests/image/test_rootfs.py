"""The executor's root file system as a tar: what is in it, what is not, and that it is the same whoever makes it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deploy import distributions, rootfs
from tests.servers import image
from tests.servers.process import needs

MIB = 1 << 20


@pytest.fixture(scope="module")
def entries(executor_rootfs) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(executor_rootfs) as archive:
        return {entry.name: entry for entry in archive}


def test_the_image_is_small(executor_rootfs):
    size = executor_rootfs.stat().st_size / MIB

    print(f"the root file system has {size:.0f} MiB")
    assert size < 330


def test_every_source_has_its_byte_code_which_no_time_stamp_makes_void(executor_rootfs, entries):
    sources = {name for name in entries if name.endswith(".py") and name.startswith("usr/lib/")}
    tag = sys.implementation.cache_tag
    compiled = {re.sub(r"([^/]+)\.py$", rf"__pycache__/\1.{tag}.pyc", name): name for name in sources}

    assert {source for name, source in compiled.items() if name not in entries} == set()
    with tarfile.open(executor_rootfs) as archive:
        flags = {archive.extractfile(name).read(8)[4:] for name in compiled}
    assert flags == {(0b01).to_bytes(4, "little")}  # by the hash of its source, unchecked (PEP 552)


def test_nothing_is_left_of_what_it_was_made_with(entries):
    unwanted = re.compile(
        r"(^|/)(tests?|pip|setuptools|pytest|_pytest|mypy|ruff|hypothesis|ensurepip|idlelib)(/|$)|\.pyi$|direct_url"
    )

    assert [name for name in entries if unwanted.search(name) and not name.startswith("usr/bin/")] == []


def test_it_belongs_to_root_and_nobody_else_can_write(entries):
    owners = {(one.uid, one.gid, one.mtime) for one in entries.values()}
    writable = {name for name, one in entries.items() if not one.issym() and one.mode & 0o022}

    assert owners == {(0, 0, 0)}
    assert writable == {"tmp"}
    assert entries["tmp"].mode == 0o1777
    assert not [name for name, one in entries.items() if one.mode & 0o6000]


def test_no_path_of_the_machine_that_built_it_is_inside(executor_rootfs):
    """Where it lay, who made it, and the sources' directory: they tell an attacker something and us nothing."""
    needles = {str(distributions.TREE), sys.prefix, os.path.realpath(sys.prefix), str(executor_rootfs.parent)}
    if Path.home() != Path("/root"):  # which is a home inside as well
        needles.add(str(Path.home()))
    elsewhere = []
    with tarfile.open(executor_rootfs) as archive:
        for entry in archive:
            if entry.isfile():
                data = archive.extractfile(entry).read()
                elsewhere += [(entry.name, one) for one in needles if one.encode() in data]
                # In programs the interpreter's prefix stays: see rootfs._forget_prefix.
                if sys.base_prefix != "/usr" and data[:4] != b"\x7fELF" and sys.base_prefix.encode() in data:
                    elsewhere.append((entry.name, sys.base_prefix))

    assert elsewhere == []


def test_the_same_sources_give_the_same_bytes(tmp_path):
    """Anew from nothing, in a process of its own with other hashes and another umask.

    Not beside the one that the other tests share: a machine's certificate authority may come into certifi meanwhile.
    """
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(distributions.TREE)}
    once, again = tmp_path / "once.tar", tmp_path / "again.tar"
    image.build(once)
    subprocess.run(
        [sys.executable, "-m", "deploy.rootfs", again], check=True, env=environment, umask=0o077, cwd=tmp_path
    )

    try:
        if _digest(again) != _digest(once):
            one, other = _contents(once), _contents(again)
            differing = {name for name in one | other if one.get(name) != other.get(name)}
            assert not differing, "these files differ"
            raise AssertionError("the entries are equal, the archives are not: their order, or their headers")
    finally:
        once.unlink()
        again.unlink()


def test_debians_own_interpreter_can_be_inside(dockerd, tmp_path):
    """Its standard library is split, its library is in the program, and its prefix is the machine's.

    It may be of another version than this run's wheels, of which `version` needs none.
    """
    python = needs("Debian's python3", "/usr/bin/python3")
    site = Path(importlib.util.find_spec("packaging").origin).parents[1]
    image, hosts = tmp_path / "image", tmp_path / "hosts"
    hosts.write_text("git.example.org ssh-ed25519 AAAA\n")
    argv = [
        python,
        "-m",
        "deploy.rootfs",
        "--image",
        "argoexec:debian",
        "--stores",
        "git",
        "--known-hosts",
        hosts,
        image,
    ]
    environment = os.environ | {"PYTHONPATH": f"{distributions.TREE}:{site}"}
    subprocess.run(argv, check=True, env=environment)
    dockerd.docker("load", "--quiet", "--input", str(image))
    image.unlink()

    def said(*command):
        return dockerd.docker("run", "--rm", "--network", "none", "--read-only", "argoexec:debian", *command).decode()

    assert said("argoexec", "version").startswith("argoexec: v")
    assert said("cat", "/etc/ssh/ssh_known_hosts") == hosts.read_text()


@pytest.mark.parametrize(
    ("stores", "there", "absent"),
    [
        ((), {"boto3", "obstore", "urllib3", "fsspec"}, {"hdfs-native", "gcsfs", "adlfs", "ossfs", "cryptography"}),
        (("hdfs",), {"hdfs-native"}, {"gcsfs"}),
        (("ssec",), {"cryptography"}, {"hdfs-native"}),
    ],
)
def test_stores_bring_what_they_need_and_nothing_more(stores, there, absent):
    names = {one.name for one in distributions.needed(stores)}

    assert there <= names
    assert not absent & names
    assert not {"pytest", "pip", "setuptools", "ruff", "mypy"} & names


def test_a_driver_of_somebody_elses_comes_with_what_it_needs(tmp_path, monkeypatch):
    home = tmp_path / "argoexec_folder-1.0.dist-info"
    home.mkdir()
    requires = "Requires-Dist: argoexec\nRequires-Dist: paramiko\nRequires-Dist: nowhere; extra == 'more'\n"
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: argoexec-folder\nVersion: 1.0\n{requires}")
    (home / "entry_points.txt").write_text("[argoexec.drivers]\nfolder = argoexec_folder:FolderDriver\n")
    (home / "direct_url.json").write_text("{}")
    noted = ("argoexec_folder.py", "../../bin/folder", f"{home.name}/entry_points.txt", f"{home.name}/direct_url.json")
    (home / "RECORD").write_text("".join(f"{one},,\n" for one in noted))
    (tmp_path / "argoexec_folder.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    found = {one.name: one for one in distributions.needed([], ["argoexec-folder==1.0"])}

    assert {"argoexec-folder", "paramiko", "cryptography"} <= set(found)
    assert {str(path) for _, path in distributions.files(found["argoexec-folder"])} == {
        "argoexec_folder.py",
        "argoexec_folder-1.0.dist-info/entry_points.txt",
    }


def test_a_driver_that_is_not_installed_is_named(tmp_path, capsys):
    assert rootfs.main(["--packages", "argoexec-nowhere", "--stores", "", str(tmp_path / "tar")]) == 1

    assert "argoexec-nowhere is not installed here" in capsys.readouterr().err


def test_an_unknown_store_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit):
        rootfs.main(["--stores", "ftp", str(tmp_path / "tar")])

    assert "no optional store: ftp" in capsys.readouterr().err


def test_what_is_missing_on_the_machine_is_named_with_its_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(rootfs.shutil, "which", lambda name: None)
    monkeypatch.setattr(rootfs, "_interpreter", lambda root: None)
    monkeypatch.setattr(rootfs.distributions, "needed", lambda extras, more: [])

    status = rootfs.main([str(tmp_path / "tar")])

    assert status == 1
    assert "busybox is not there: install the Debian package busybox-static" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _contents(archive: Path) -> dict[str, str]:
    """Of every entry what it is, and the digest of its content."""
    found = {}
    with tarfile.open(archive) as opened:
        for entry in opened:
            content = opened.extractfile(entry) if entry.isreg() else None
            digest = "" if content is None else hashlib.file_digest(content, "sha256").hexdigest()
            found[entry.name] = f"{entry.type!r} {entry.mode:o} {entry.linkname} {digest}"
    return found
