"""The executor's image in real containers: what a controller and a kubelet ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.dockerd import Dockerd

USERS = pytest.mark.parametrize("user", ["0:0", "8737:8737", "12345:12345"])


def run(dockerd: Dockerd, image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """What a container prints that has neither a network nor anything to write to but /tmp, as a strict pod."""
    return dockerd.docker(
        "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", *options, image, *command
    ).decode()


@USERS
def test_argoexec_is_found_by_the_path_and_runs_without_home_or_anything_to_write(dockerd, executor_image, user):
    said = run(dockerd, executor_image, "argoexec", "version", options=("--user", user, "--env", "HOME="))
    assert said.startswith("argoexec: v")
    assert "PythonVersion: 3." in said
