"""What of the machine is put where in a container, and what stays outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.clock import NEVER
from lifecycle.errors import BadRequest, NotFound
from lifecycle.ports import ContainerSpec, Mount
from runtimes.sandbox import LocalSandbox

pytestmark = pytest.mark.sandbox


def test_mounts_are_made_in_order_and_some_below_others(pod, tmp_path):
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    (tmp_path / "file").write_text("file")
    mounts = (
        Mount(tmp_path / "outer", "/v"),
        Mount(tmp_path / "inner", "/v/sub/inner"),
        Mount(tmp_path / "file", "/v/sub/inner/file"),
        Mount(tmp_path / "file", "/bin/from-a-file"),
        Mount(tmp_path / "file", "/usr/local/new/dir/file"),
        Mount(tmp_path / "inner", "/etc/new"),
    )
    script = "cat /v/name /v/sub/inner/name /v/sub/inner/file /bin/from-a-file /usr/local/new/dir/file /etc/new/name"
    assert pod.run(script, mounts=mounts).code == 0, pod.output(combined=True)
    assert pod.output() == b"outerinnerfilefilefileinner"
    assert not Path("/bin/from-a-file").exists()
    assert not Path("/etc/new").exists()


def test_a_program_can_be_mounted_over_one_of_the_machine(pod, tmp_path):
    (tmp_path / "env").write_text("#!/bin/sh\necho ours\n")
    (tmp_path / "env").chmod(0o755)
    pod.run("env", mounts=(Mount(tmp_path / "env", "/usr/bin/env"),))

    assert pod.output() == b"ours\n"


def test_read_only_is_honoured(pod, volume):
    (volume / "file").write_text("text")
    script = "cat /v/file; touch /v/x 2>/dev/null || echo refused; touch /w/x && echo made"
    pod.run(script, mounts=(Mount(volume, "/v", read_only=True), Mount(volume, "/w")))

    assert pod.output() == b"textrefused\nmade\n"
    assert (volume / "x").exists()


def test_a_mount_point_follows_links_inside_the_root_only(pod, volume, tmp_path):
    for name in ("outside", "inside"):
        (tmp_path / name).mkdir()
    (volume / "link").symlink_to(tmp_path / "outside")
    mounts = (Mount(volume, "/v"), Mount(tmp_path / "inside", str(tmp_path / "outside")), Mount(volume, "/v/link/new"))
    pod.run("ls /v/link/", mounts=mounts)

    assert pod.output() == b"new\n"
    assert [one.name for one in (tmp_path / "inside").iterdir()] == ["new"]
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_mount_point_below_a_link_to_nowhere_is_named(pod, volume, tmp_path):
    (tmp_path / "outside").mkdir()
    (volume / "link").symlink_to(tmp_path / "outside")

    with pytest.raises(BadRequest, match="/v/link/new"):
        pod.start("main", "true", mounts=(Mount(volume, "/v"), Mount(volume, "/v/link/new")))
    assert list((tmp_path / "outside").iterdir()) == []


def test_blanks_and_commas_in_names_are_nothing_special(tmp_path):
    directory = tmp_path / "a, b:c\\d=é"
    directory.mkdir()
    (directory / "file").write_text("text")
    sandbox = LocalSandbox(directory / "pod", "pod-1")
    spec = ContainerSpec("main", ("cat", "/v, w/file"), {}, mounts=(Mount(directory, "/v, w"),))
    status = sandbox.run_init(spec, NEVER)
    sandbox.close()

    assert status.code == 0
    assert (directory / "pod/containers/main/stdout").read_bytes() == b"text"


def test_what_is_to_be_mounted_must_be_there(pod, tmp_path):
    with pytest.raises(NotFound, match="nothing"):
        pod.start("main", "true", mounts=(Mount(tmp_path / "nothing", "/v"),))


def test_a_mount_point_in_a_read_only_volume_is_named(pod, volume):
    mounts = (Mount(volume, "/v", read_only=True), Mount(volume, "/v/missing"))
    with pytest.raises(BadRequest, match="/v/missing"):
        pod.start("main", "true", mounts=mounts)


def test_a_relative_path_is_refused(pod, volume):
    with pytest.raises(BadRequest, match="absolute"):
        pod.start("main", "true", mounts=(Mount(volume, "v"),))
