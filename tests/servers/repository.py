"""Git repositories for tests, made by the `git` program with nothing of this machine's configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

WHO = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.org", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ALLOW_PROTOCOL": "file:http:https:ssh:git",
}  # fmt: skip


def git(directory: Path, *arguments: str | Path) -> str:
    """Run git there; gives what it prints."""
    if shutil.which("git") is None:
        pytest.skip("needs the git program")
    command = ["git", "-c", "safe.directory=*", "-c", "gc.auto=0", *arguments]
    environment = {"PATH": os.environ["PATH"]} | WHO
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Repository:
    """A bare repository on branch `main`, and a working tree to commit from."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.work = path.with_name(f"{path.name}-work")
        path.mkdir(parents=True)
        self.work.mkdir()
        git(path, "init", "--quiet", "--bare", "--initial-branch=main", *options)
        git(self.work, "init", "--quiet", "--initial-branch=main", *options)
        git(self.work, "remote", "add", "origin", path)

    @classmethod
    def filled(cls, path: Path, *options: str) -> Repository:
        """Five commits on `main`, one more on `side`, tags `v1` and `v2` (annotated) on the second and third, and a
        pull request's head, which is on no branch."""
        made = cls(path, *options)
        for number in range(1, 6):
            made.commit(f"file-{number}", f"content {number}\n" * 100)
            if number == 2:
                made.run("tag", "v1")
            if number == 3:
                made.run("tag", "--annotate", "--message=second", "v2")
        made.run("checkout", "--quiet", "-b", "side", "HEAD~2")
        made.commit("side", "on the side")
        made.run("checkout", "--quiet", "--detach", "main")
        made.commit("pull", "requested")
        made.run("push", "--quiet", "origin", "HEAD:refs/pull/1/head", "main", "side", "--tags")
        made.run("checkout", "--quiet", "main")
        return made

    def run(self, *arguments: str | Path) -> str:
        """Run git in the working tree."""
        return git(self.work, *arguments)

    def commit(self, name: str, content: str) -> str:
        """A commit that changes one file; gives its id."""
        (self.work / name).write_text(content)
        self.run("add", "--all")
        self.run("commit", "--quiet", f"--message={name}")
        return self.id("HEAD")

    def push(self, *refspecs: str) -> None:
        """To the bare repository."""
        self.run("push", "--quiet", "--force", "origin", *(refspecs or ("main",)))

    def id(self, revision: str) -> str:
        """The id of a commit."""
        return self.run("rev-parse", f"{revision}^{{commit}}")

    def add_submodule(self, url: str, path: str) -> None:
        """Commit one by its URL as it will stand in .gitmodules; `url` need not lead anywhere from here."""
        other = Repository.filled(self.path.with_name(f"{self.path.name}-{path}-source"))
        self.run("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other.path, path)
        self.run("config", "--file=.gitmodules", f"submodule.{path}.url", url)
        self.run("add", "--all")
        self.run("commit", "--quiet", f"--message=submodule {path}")
