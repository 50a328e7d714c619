"""git artifacts: a working tree with its ``.git``, fetched by the ``git`` program (spec 3.3, 5.29).

The program, because a shallow fetch with it takes a seventh of the time of one in Python (0.11 s against 1.6 s), and
because it alone speaks all transports. One listing of the remote's refs decides what there is to fetch; then only
that is fetched. Upstream fetches all branches as soon as a ``revision`` is named, whatever ``depth`` says (7.2 #41).
"""
# ruff: noqa: ARG002 - the signatures are the port's

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn

from drivers import git_address
from drivers.git_command import Children, Command, Failed
from drivers.git_credentials import Credentials, Lent
from drivers.git_errors import meaning, refused
from drivers.git_refs import EVERYTHING, Remote, Revision, Wanted, parse_revision
from lifecycle.errors import BadRequest, Permanent, Unavailable, Unsupported, from_os_error
from lifecycle.template import convert
from lifecycle.view import Git

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from drivers.git_address import Address
    from lifecycle.ports import StoredObject
    from lifecycle.secret import SecretReader

_OLDEST: Final = (2, 32)  # GIT_CONFIG_GLOBAL
_REFSPEC: Final = re.compile(r"[+^]?[^-\s+^][^\s]*")
_ALL: Final = 0x7FFFFFFF
"""What git takes for no limit of the depth."""
_LOCAL: Final = "refs/heads/"


class GitDriver:
    """Fetches repositories; the key is the ``repo``. The credentials go to its own host only."""

    def __init__(self, config: Mapping[str, Any], secrets: SecretReader, *, read_timeout: float = 60.0) -> None:
        """``read_timeout``: seconds that a server may say nothing over http and ssh; ten times that over ``git://``.

        Raises:
            BadRequest: a field cannot be meant as it is.
            Unauthorized: a secret is not there.
        """
        known = {name: value for name, value in config.items() if value is not None}
        view: Git = convert(known, Git, place="git")
        if view.single_branch and not view.branch:
            raise BadRequest("`singleBranch` of a git artifact needs a `branch`", remedy="name the `branch`")
        if (view.depth or 0) < 0:
            raise BadRequest("`depth` of a git artifact is negative", remedy="leave it out for the whole history")
        for spec in view.fetch:
            if not _REFSPEC.fullmatch(spec):
                raise BadRequest(f"`fetch` of a git artifact has {spec!r}, which is no refspec")
        self._view = view
        self._revision = parse_revision(view.revision) if view.revision else None
        self._credentials = Credentials(
            username=_read(secrets, view.username_secret),
            password=_read(secrets, view.password_secret),
            key=_read(secrets, view.ssh_private_key_secret),
            any_host_key=view.insecure_ignore_host_key,
            any_certificate=view.insecure_skip_tls,
        )
        self._credentials.check()
        self._children = Children()
        self._read_timeout = read_timeout

    def load_tree(self, key: str, directory: Path) -> None:
        """Fetch the repository into an empty directory, and check out what was asked for.

        Raises:
            BadRequest: there is no such repository, revision or branch: never NotFound, which ``optional`` forgives.
            Unauthorized, Forbidden: the credentials.
            StorageFull: no space for it.
            Permanent: the host's key or certificate is not trusted.
            Unsupported: git, or ssh, is not there, or is too old.
            Unavailable, TimedOut, Throttled: worth another attempt.
        """
        address = git_address.parse(key)
        credentials = self._suitable(address)
        where = f"git {credentials.redact(address.url)}"
        program = _program("git")
        if address.scheme == "ssh":
            _program("ssh")
        try:
            with Lent(credentials, address, patience=self._read_timeout) as lent:
                above = {"GIT_CEILING_DIRECTORIES": str(directory.resolve().parent)}
                git = Command(
                    program, directory, lent.environment | above, self._children, where, credentials.redact,
                    silence=10 * self._read_timeout,
                )  # fmt: skip
                _check_version(git.run("version"))
                _check_readable(git)
                remote = Remote(git.run("ls-remote", "--symref", "--end-of-options", address.url, network=True))
                if not remote.refs and address.origin:
                    _check_empty(git, lent, address)
                _Fetch(git, self._view, self._revision).perform(address, remote)
        except Failed as failed:
            raise meaning(where, failed) from failed
        except OSError as error:
            # Whatever file is missing, it is not the artifact: no NotFound.
            kind = Unavailable if from_os_error(error).transient else Permanent
            raise kind(f"{where}: git cannot be run: {error.strerror or error}") from error

    def abort(self) -> None:
        """End what runs in other threads, which then fails as if the server had broken off."""
        self._children.abort()

    def open(self, key: str) -> BinaryIO:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        self._refuse("opened as one object", "as an input artifact it is loaded as a directory")

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        self._refuse("saved to", "give the output artifact another location")

    def list(self, key: str) -> Iterator[StoredObject]:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        self._refuse("listed", "as an input artifact it is loaded as a directory")

    def delete(self, key: str) -> None:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        self._refuse("deleted", "delete the repository where it is hosted")

    @staticmethod
    def _refuse(what: str, remedy: str) -> NoReturn:
        raise Unsupported(f"a git artifact cannot be {what}: it is a repository", remedy=remedy)

    def _suitable(self, address: Address) -> Credentials:
        """The credentials, with those of the URL where none are configured.

        Raises:
            BadRequest: those that are configured cannot be used with this URL.
        """
        own = self._credentials
        if address.scheme in {"http", "https"}:
            if own.key is not None and not (own.username or own.password):
                raise BadRequest(
                    "`sshPrivateKeySecret` of a git artifact cannot be used with an http URL",
                    remedy="give `repo` in its ssh form (git@host:path), or `usernameSecret` and `passwordSecret`",
                )
        elif (own.username or own.password) and own.key is None:
            raise BadRequest(
                f"`usernameSecret` and `passwordSecret` of a git artifact cannot be used with a {address.scheme} URL",
                remedy="give `repo` in its https form, or an `sshPrivateKeySecret`",
            )
        found = Credentials(
            own.username or address.username, own.password or address.password, own.key,
            own.any_host_key, own.any_certificate,
        )  # fmt: skip
        found.check()
        return found


class _Fetch:
    """One repository on its way."""

    def __init__(self, git: Command, view: Git, revision: Revision | None) -> None:
        self._git = git
        self._view = view
        self._revision = revision
        self._depth = min(_ALL, view.depth) if view.depth else None
        self._branch = view.branch.removeprefix(_LOCAL)

    def perform(self, address: Address, remote: Remote) -> None:
        try:
            target, branch = self._choose(remote)
        except BadRequest as error:  # from None: it says the same, but not of which repository
            raise BadRequest(f"{self._git.where}: {error.message}", remedy=error.remedy) from None
        self._begin(address, remote, branch)
        if target is None:
            return
        self._fetch(target)
        if self._view.fetch:
            self._get(*self._view.fetch, depth=self._depth)
        self._check_out(target)
        if not self._view.disable_submodules and (self._git.directory / ".gitmodules").is_file():
            self._submodules()

    def _choose(self, remote: Remote) -> tuple[Wanted | None, str]:
        """What to fetch, and the branch that HEAD is on; nothing from an empty repository (spec 5.9)."""
        if not remote.refs:
            if self._revision and (self._steps or self._revision.is_id):
                raise BadRequest("the repository is empty", remedy="correct `repo` or `revision`")
            return None, self._branch or self._view.revision or "master"
        single = remote.branch(self._branch) if self._branch else None
        target = remote.wanted(self._revision.name) if self._revision else single or remote.head()
        return target, target.branch if not self._steps else ""

    @property
    def _steps(self) -> str:
        return self._revision.steps if self._revision else ""

    def _begin(self, address: Address, remote: Remote, branch: str) -> None:
        kind = ["--object-format=sha256"] if remote.sha256 else []
        start = [f"--initial-branch={branch}"] if branch else []
        self._git.run("init", "--quiet", *kind, *start)
        only = [f"--track={self._branch}"] if self._view.single_branch else []
        self._git.run("remote", "add", *only, "--", "origin", address.url)

    def _get(self, *refspecs: str, depth: int | None = None) -> None:
        self._git.run(
            "fetch", "--progress", "--force", "--update-head-ok", "--no-recurse-submodules",
            *([f"--depth={depth}"] if depth else []), "--", "origin", *dict.fromkeys(refspecs), network=True,
        )  # fmt: skip

    def _fetch(self, target: Wanted) -> None:
        """Only what is wanted when there is a depth, else all of it."""
        single = [f"+{_LOCAL}{self._branch}:refs/remotes/origin/{self._branch}"] if self._view.single_branch else []
        ref = [target.refspec] if target.refspec and not target.bare else []
        if self._depth is None:
            self._get(*(single or EVERYTHING), *ref)
            if target.bare and not self._commit(target):
                self._get_bare(target)
            return
        depth = min(_ALL, self._depth + (self._revision.back if self._revision else 0))
        if single or ref:
            self._get(*single, *ref, depth=depth)
        if target.bare and not self._commit(target) and self._get_bare(target, depth):
            return
        # In this order: the commit itself, the ends of all branches and tags, the whole history.
        if not self._commit(target):
            self._get(*EVERYTHING, depth=depth)
        if not self._commit(target):
            self._get(*EVERYTHING, depth=_ALL)

    def _get_bare(self, target: Wanted, depth: int | None = None) -> bool:
        """Ask for a commit by its id: upload-pack of protocol 2 gives any, older servers may refuse."""
        try:
            self._get(target.refspec, depth=depth)
        except Failed as failed:
            if not refused(failed):
                raise
            return False
        return True

    def _commit(self, target: Wanted, steps: str = "") -> str:
        """The commit's id here; nothing when it is not here."""
        try:
            found = self._git.run(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{target.found}{steps}^{{commit}}"
            )
        except Failed:
            return ""
        return found.split()[-1]

    def _check_out(self, target: Wanted) -> None:
        commit = self._commit(target, self._steps)
        if not commit:
            raise BadRequest(
                f"{self._git.where}: there is no commit {self._view.revision!r}",
                remedy="correct `revision`; a commit must be below a branch or tag of the repository",
            )
        if target.branch and not self._steps:
            place = ["-B", target.branch, "--track", target.found]
        else:
            place = ["--detach", commit]
        self._git.run("checkout", "--quiet", "--force", *place, "--")

    def _submodules(self) -> None:
        depth = [f"--depth={self._depth}"] if self._depth else []
        self._git.run(
            "submodule", "update", "--init", "--recursive", "--force", "--progress", *depth, network=True
        )  # fmt: skip


def _read(secrets: SecretReader, selector: Any) -> Any:
    return secrets.read(None if selector is None else {"name": selector.name, "key": selector.key})


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unsupported(
            f"git artifacts need the program `{name}`, which is not here",
            remedy="install git and an ssh client where the executor runs",
        )
    return found


def _check_empty(git: Command, lent: Lent, address: Address) -> None:
    """Any web page passes for an empty repository: git reads it as the list of a static one, and finds nothing in it.

    A server that speaks git sends packets even then. A static repository without a branch is refused, too.
    """
    descriptor, path = lent.trace()
    traced = replace(git, environment={**git.environment, "GIT_TRACE_PACKET": path})
    traced.run("ls-remote", "--end-of-options", address.url, network=True)
    if os.fstat(descriptor).st_size == 0:
        raise BadRequest(
            f"{git.where}: there is no such repository: what answers does not speak git", remedy="correct `repo`"
        )


def _check_readable(git: Command) -> None:
    """Git goes on without a configuration that it cannot read: without credentials, and with hooks."""
    try:
        git.run("config", "--global", "--get", "argoexec.readable")
    except Failed as failed:
        if failed.status < 0:
            raise
        raise Unsupported(
            f"{git.where}: git cannot read what this process has in memory",
            remedy="mount /proc, and start the executor as the user it runs as",
        ) from failed


def _check_version(text: str) -> None:
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is not None and (int(found[1]), int(found[2])) < _OLDEST:
        raise Unsupported(
            f"git artifacts need git {_OLDEST[0]}.{_OLDEST[1]} or later; here is {found[0]}",
            remedy="install a later git where the executor runs",
        )
