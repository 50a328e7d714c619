"""git artifacts from repositories on this disk: what is fetched, how much of it, and what a hostile one can do."""

from __future__ import annotations

import io
import os
import select
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from drivers.git import GitDriver
from lifecycle.archive.extract import Limits
from lifecycle.clock import Cancel
from lifecycle.errors import BadRequest, InputError, LifecycleError, Permanent, Unauthorized, Unavailable, Unsupported
from lifecycle.location import Location, of_artifact
from lifecycle.moved import Moved
from lifecycle.ports import Driver, TreeDriver
from lifecycle.transfer import load
from tests.servers.fixtures import Secrets
from tests.servers.repository import Repository, git

EXAMPLES = Path(os.environ.get("ARGO_EXAMPLES", Path(__file__).parents[2].parent / "shared/argo-examples"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository.filled(tmp_path_factory.mktemp("git") / "origin.git")


class Tree:
    """A fetched tree."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> str:
        return git(self.path, *arguments)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def branch(self) -> str:
        """What HEAD is on; empty when it is on none."""
        return self.git("branch", "--show-current")

    @property
    def commits(self) -> int:
        """How many are here, of whatever branch."""
        listed = self.git("cat-file", "--batch-check=%(objecttype)", "--batch-all-objects").split()
        return listed.count("commit")

    @property
    def names(self) -> list[str]:
        return sorted(one.name for one in self.path.iterdir() if one.name != ".git")


def fetch(tmp_path: Path, secrets: Secrets, repo: object, **config: object) -> Tree:
    directory = tmp_path / "tree"
    directory.mkdir()
    GitDriver(config, secrets).load_tree(str(repo), directory)
    return Tree(directory)


def failure(tmp_path: Path, secrets: Secrets, repo: object, **config: object) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        fetch(tmp_path, secrets, repo, **config)
    return caught.value


def test_it_is_a_driver_of_trees_and_refuses_the_rest_with_a_remedy(secrets: Secrets):
    driver = GitDriver({}, secrets)
    assert isinstance(driver, TreeDriver)
    assert isinstance(driver, Driver)
    for attempt in (
        lambda: driver.open("/r"), lambda: driver.save("/r", io.BytesIO(), 0), lambda: driver.list("/r"),
        lambda: driver.delete("/r"),
    ):  # fmt: skip
        with pytest.raises(Unsupported) as caught:
            attempt()
        assert caught.value.remedy


# --- what is fetched ---


def test_without_a_revision_it_is_a_clone_on_the_default_branch(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path)

    assert tree.branch == "main"
    assert tree.head == repository.id("main")
    assert tree.names == [f"file-{number}" for number in range(1, 6)]
    assert tree.git("status", "--porcelain") == ""
    assert tree.git("rev-parse", "origin/side") == repository.id("side")
    assert tree.git("tag").split() == ["v1", "v2"]
    assert tree.git("rev-parse", "--abbrev-ref", "main@{upstream}") == "origin/main"
    assert tree.git("remote", "get-url", "origin") == str(repository.path)
    assert not (tree.path / ".git/hooks").exists()


def test_a_file_url_is_the_same(tmp_path, secrets, repository):
    assert fetch(tmp_path, secrets, f"file://{repository.path}", depth=1).commits == 1


@pytest.mark.parametrize(
    ("revision", "expected", "branch"),
    [
        ("main", "main", "main"),
        ("side", "side", "side"),
        ("refs/heads/side", "side", "side"),
        ("origin/side", "side", "side"),
        ("refs/remotes/origin/side", "side", "side"),
        ("v1", "v1", ""),
        ("v2", "v2", ""),
        ("refs/tags/v2", "v2", ""),
        ("refs/pull/1/head", "PULL", ""),
        ("pull/1/head", "PULL", ""),
        ("HEAD", "main", "main"),
        ("HEAD~1", "main~1", ""),
        ("HEAD^", "main~1", ""),
        ("@^^", "main~2", ""),
        ("main~2^0", "main~2", ""),
        ("v2^{commit}~1", "v1", ""),
    ],
)
@pytest.mark.parametrize("depth", [None, 2])
def test_a_revision_is_a_branch_tag_ref_or_one_before_it(
    tmp_path, secrets, repository, revision, expected, branch, depth
):
    at = git(repository.path, "rev-parse", "refs/pull/1/head") if expected == "PULL" else repository.id(expected)
    tree = fetch(tmp_path, secrets, repository.path, revision=revision, depth=depth)

    assert tree.head == at
    assert tree.branch == branch
    assert tree.git("status", "--porcelain") == ""
    if depth:
        assert int(tree.git("rev-list", "--count", "HEAD")) == depth


@pytest.mark.parametrize("where", ["main", "main~2", "side"])
@pytest.mark.parametrize("length", [40, 12])
def test_a_revision_is_a_commit_whole_or_abbreviated(tmp_path, secrets, repository, where, length):
    tree = fetch(tmp_path, secrets, repository.path, revision=repository.id(where)[:length])

    assert tree.head == repository.id(where)
    assert tree.branch == ""


# --- how much ---


@pytest.mark.parametrize("depth", [1, 3])
def test_a_depth_fetches_so_many_commits_of_the_default_branch(tmp_path, secrets, repository, depth):
    tree = fetch(tmp_path, secrets, repository.path, depth=depth)

    assert tree.commits == depth
    assert tree.branch == "main"


def test_a_depth_of_nothing_is_the_whole_history(tmp_path, secrets, repository):
    assert fetch(tmp_path, secrets, repository.path, depth=0).git("rev-list", "--count", "main") == "5"


@pytest.mark.parametrize("revision", ["main", "side", "v1", "v2", "refs/pull/1/head", "COMMIT"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_depth_holds_with_a_revision_too(tmp_path, secrets, repository, revision, depth):
    """Upstream fetches all branches then (spec 7.2 #41)."""
    wanted = repository.id("main~2") if revision == "COMMIT" else revision
    tree = fetch(tmp_path, secrets, repository.path, revision=wanted, depth=depth)

    assert tree.commits == depth


def test_the_tip_of_a_branch_by_a_short_id_is_fetched_alone(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, revision=repository.id("side")[:10], depth=1)

    assert tree.head == repository.id("side")
    assert tree.commits == 1


def test_a_short_id_below_the_tips_costs_the_history(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, revision=repository.id("main~3")[:10], depth=1)

    assert tree.head == repository.id("main~3")


def test_a_single_branch_is_fetched_alone(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, branch="side", singleBranch=True)

    assert tree.branch == "side"
    assert tree.git("branch", "--remotes").split() == ["origin/side"]
    assert tree.git("config", "remote.origin.fetch") == "+refs/heads/side:refs/remotes/origin/side"


def test_a_single_branch_with_a_depth_and_an_older_revision(tmp_path, secrets, repository):
    tree = fetch(
        tmp_path, secrets, repository.path, branch="main", singleBranch=True, depth=1, revision=repository.id("v1")
    )

    assert tree.head == repository.id("v1")
    assert tree.commits == 2


def test_a_single_branch_may_be_a_whole_ref(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, branch="refs/heads/side", singleBranch=True, depth=1)

    assert tree.branch == "side"
    assert tree.commits == 1


@pytest.mark.parametrize("depth", [2**31, 2**63])
def test_a_depth_beyond_gits_own_limit_is_the_whole_history(tmp_path, secrets, repository, depth):
    assert fetch(tmp_path, secrets, repository.path, depth=depth).commits == 5


def test_a_branch_is_checked_out_where_no_revision_is_named(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, branch="side")

    assert tree.branch == "side"
    assert tree.git("branch", "--remotes").split() == ["origin/main", "origin/side"]


def test_more_refs_can_be_fetched(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, depth=1, fetch=["refs/pull/*:refs/remotes/pull/*"])

    assert (tree.path / ".git/refs/remotes/pull/1/head").is_file()
    assert tree.branch == "main"
    assert tree.commits == 2


def test_all_branches_can_be_fetched_as_branches(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, fetch=["refs/heads/*:refs/heads/*"])

    assert tree.git("branch", "--format=%(refname:short)").split() == ["main", "side"]
    assert tree.git("status", "--porcelain") == ""


def test_the_refs_to_fetch_can_hold_the_revision(tmp_path, secrets, repository):
    tree = fetch(tmp_path, secrets, repository.path, revision="refs/pull/1/head", fetch=["+refs/pull/1/head:refs/x"])

    assert tree.head == tree.git("rev-parse", "refs/x")


def test_a_repository_with_sha256_ids(tmp_path, secrets):
    repository = Repository.filled(tmp_path / "r.git", "--object-format=sha256")
    tree = fetch(tmp_path, secrets, repository.path, revision=repository.id("v1"), depth=1)

    assert tree.head == repository.id("v1")
    assert len(tree.head) == 64


@pytest.mark.parametrize(
    ("config", "branch"),
    [({}, "master"), ({"branch": "trunk"}, "trunk"), ({"revision": "dev"}, "dev"), ({"depth": 1}, "master")],
)
def test_an_empty_repository_becomes_an_empty_tree_on_a_branch(tmp_path, secrets, config, branch):
    empty = Repository(tmp_path / "empty.git")
    tree = fetch(tmp_path, secrets, empty.path, **config)

    assert tree.branch == branch
    assert tree.names == []
    assert tree.git("remote", "get-url", "origin") == str(empty.path)


def test_a_commit_of_an_empty_repository_is_not_there(tmp_path, secrets):
    empty = Repository(tmp_path / "empty.git")
    assert type(failure(tmp_path, secrets, empty.path, revision="0" * 40)) is BadRequest


def test_a_remote_whose_head_is_on_no_branch(tmp_path, secrets):
    repository = Repository.filled(tmp_path / "r.git")
    git(repository.path, "update-ref", "--no-deref", "HEAD", repository.id("v1"))
    tree = fetch(tmp_path, secrets, repository.path, depth=1)

    assert tree.head == repository.id("v1")
    assert tree.branch == ""


def test_a_remote_whose_head_leads_nowhere_wants_a_revision(tmp_path, secrets):
    repository = Repository.filled(tmp_path / "r.git")
    git(repository.path, "symbolic-ref", "HEAD", "refs/heads/gone")
    found = failure(tmp_path, secrets, repository.path)

    assert type(found) is BadRequest
    assert "revision" in found.remedy


def program_before_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A `git` that is found before the real one."""
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(("revision", "commits"), [("main", 2), ("main~1", 2), ("main~4", 8)])
def test_a_server_that_gives_no_bare_commits_costs_first_the_tips_then_the_history(
    tmp_path, secrets, monkeypatch, revision, commits
):
    """Protocol 0 gives only what is advertised."""
    repository = Repository(tmp_path / "r.git")
    for number in range(8):
        repository.commit("file", str(number))
    repository.push()
    program_before_git(tmp_path, monkeypatch, f'exec {shutil.which("git")} -c protocol.version=0 "$@"')
    wanted = repository.id(revision)
    tree = fetch(tmp_path, secrets, f"file://{repository.path}", revision=wanted, depth=2)

    assert tree.head == wanted
    assert tree.commits == commits


# --- submodules ---


def with_submodule(tmp_path: Path, url: str) -> Repository:
    repository = Repository.filled(tmp_path / "super.git")
    repository.add_submodule(url, "sub")
    repository.push()
    return repository


@pytest.mark.parametrize("url", ["../super.git-sub-source", "ABSOLUTE"])
@pytest.mark.parametrize("depth", [None, 1])
def test_submodules_come_too(tmp_path, secrets, url, depth):
    absolute = str(tmp_path / "super.git-sub-source")
    repository = with_submodule(tmp_path, absolute if url == "ABSOLUTE" else url)
    tree = fetch(tmp_path, secrets, repository.path, depth=depth)

    assert (tree.path / "sub/file-5").is_file()
    assert tree.git("submodule", "status").startswith(repository.run("rev-parse", "HEAD:sub"))


def test_submodules_of_submodules_come_too(tmp_path, secrets):
    repository = Repository.filled(tmp_path / "super.git")
    middle = Repository.filled(tmp_path / "middle.git")
    middle.add_submodule("../middle.git-inner-source", "inner")
    middle.push()
    repository.run("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", middle.path, "middle")
    repository.run("commit", "--quiet", "--message=middle")
    repository.push()
    tree = fetch(tmp_path, secrets, repository.path)

    assert (tree.path / "middle/inner/file-5").is_file()


@pytest.mark.parametrize("depth", [None, 1])
def test_a_submodule_whose_commit_is_nowhere(tmp_path, secrets, depth):
    repository = with_submodule(tmp_path, "../super.git-sub-source")
    repository.run("update-index", "--cacheinfo", f"160000,{'1' * 40},sub")
    repository.run("commit", "--quiet", "--message=wrong")
    repository.push()
    found = failure(tmp_path, secrets, repository.path, depth=depth)

    assert type(found) is BadRequest
    assert "submodule's commit" in found.message


def test_submodules_can_be_left_out(tmp_path, secrets):
    tree = fetch(tmp_path, secrets, with_submodule(tmp_path, "../super.git-sub-source").path, disableSubmodules=True)

    assert list((tree.path / "sub").iterdir()) == []


def test_a_tree_with_submodules_can_be_moved(tmp_path, secrets):
    """It is fetched beside its place, and moved there."""
    repository = with_submodule(tmp_path, "../super.git-sub-source")
    place = tmp_path / "input"
    load(
        GitDriver({}, secrets), Location("git", {}, str(repository.path)), place, None,
        limits=Limits(), width=1, moved=Moved(),
    )  # fmt: skip

    assert git(place, "status", "--porcelain") == ""
    assert git(place / "sub", "log", "-1", "--format=%s") == "file-5"


@pytest.mark.parametrize("url", ["ext::sh -c 'touch%20OWNED'", "-u./OWNED"])
def test_a_submodule_cannot_run_a_program(tmp_path, secrets, url):
    url = url.replace("OWNED", str(tmp_path / "owned"))
    found = failure(tmp_path, secrets, with_submodule(tmp_path, url).path)

    assert isinstance(found, LifecycleError)
    assert not (tmp_path / "owned").exists()


# --- what can be wrong with it ---


@pytest.mark.parametrize(
    "repo",
    [
        "", "relative/path", "./relative", "../up", "-oProxyCommand=touch x", "--upload-pack=touch x", "ext::sh -c x",
        "fd::3", "host::path", "ftp://host/r", "git+ssh://host/r", "https://", "https:///r", "https://host",
        "https://-host/r", "ssh://-oProxyCommand=x/r", "ssh://host -x/r", "-user@host:r", "user name@host:r",
        "ssh://user:secret@host/r", "file://host/r", "https://host/r?token=secret", "https://host/r#secret",
        "https://host:port/r", "/path\nwith/line", "https://ho*st/r", "git@ho?st:r", "ssh://-user@host/r",
    ],
)  # fmt: skip
def test_what_is_no_repository_never_reaches_git(tmp_path, secrets, repo):
    found = failure(tmp_path, secrets, repo)

    assert type(found) is BadRequest
    assert found.remedy
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "revision", ["-x", "--upload-pack=x", "a b", "main@{1}", "main..side", "main:file-1", "^main", "a*", "x\ny", "~1"]
)
def test_a_revision_that_could_be_something_else_is_refused(secrets, revision):
    with pytest.raises(BadRequest, match="revision"):
        GitDriver({"revision": revision}, secrets)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"singleBranch": True}, "`singleBranch` of a git artifact needs a `branch`"),
        ({"depth": -1}, "depth"),
        ({"depth": "many"}, "git.depth"),
        ({"fetch": ["--upload-pack=x"]}, "fetch"),
        ({"fetch": "refs/heads/*"}, "git.fetch"),
        ({"insecureSkipTLS": "yes"}, "insecureSkipTLS"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(secrets, config, message):
    with pytest.raises(BadRequest) as caught:
        GitDriver(config, secrets)

    assert message in str(caught.value)


def test_nulls_are_absent_fields(tmp_path, secrets, repository):
    empty = dict.fromkeys(("revision", "depth", "fetch", "branch", "usernameSecret", "insecureSkipTLS"))
    assert fetch(tmp_path, secrets, repository.path, **empty).branch == "main"


def test_a_secret_that_is_not_there_is_named(secrets):
    with pytest.raises(Unauthorized, match="'creds' has no key 'password'"):
        GitDriver({"passwordSecret": {"name": "creds", "key": "password"}}, secrets)


def test_a_path_that_is_no_repository(tmp_path, secrets):
    (tmp_path / "none").mkdir()
    found = failure(tmp_path, secrets, tmp_path / "none")

    assert type(found) is BadRequest
    assert "no such repository" in found.message
    assert "repo" in found.remedy


@pytest.mark.parametrize(
    "revision", ["nope", "refs/heads/nope", "deadbeef", "f" * 40, "v1~2", "main~99", "refs/pull/2/head"]
)
@pytest.mark.parametrize("depth", [None, 1])
def test_a_revision_that_is_not_there_is_no_missing_artifact(tmp_path, secrets, repository, revision, depth):
    found = failure(tmp_path, secrets, repository.path, revision=revision, depth=depth)

    assert type(found) is BadRequest
    assert revision in found.message
    assert "revision" in found.remedy


@pytest.mark.parametrize("single", [True, False])
def test_a_branch_that_is_not_there(tmp_path, secrets, repository, single):
    found = failure(tmp_path, secrets, repository.path, branch="nope", singleBranch=single)

    assert type(found) is BadRequest
    assert "'nope'" in found.message


def test_a_ref_to_fetch_that_is_not_there(tmp_path, secrets, repository):
    found = failure(tmp_path, secrets, repository.path, fetch=["refs/heads/nope:refs/x"])

    assert type(found) is BadRequest
    assert "fetch" in found.remedy


def test_passwords_are_not_for_local_paths(tmp_path, secrets, repository):
    secrets.write("creds", password="canary")
    found = failure(tmp_path, secrets, repository.path, passwordSecret={"name": "creds", "key": "password"})

    assert type(found) is BadRequest


# --- keys and passwords that cannot be used ---


def key_with(tmp_path: Path, *options: str) -> str:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs the ssh-keygen program")
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", *options, "-f", path], check=True, stdin=subprocess.DEVNULL)
    return path.read_text()


@pytest.mark.parametrize(
    "options", [("-t", "ed25519"), ("-t", "rsa", "-m", "PEM"), ("-t", "rsa", "-m", "PKCS8"), ("-t", "ecdsa")]
)
def test_a_key_with_a_passphrase_is_refused_at_once(tmp_path, secrets, options):
    secrets.write("ssh", locked=key_with(tmp_path, *options, "-N", "secret"))
    with pytest.raises(BadRequest, match="passphrase") as caught:
        GitDriver({"sshPrivateKeySecret": {"name": "ssh", "key": "locked"}}, secrets)
    assert "ssh-keygen" in caught.value.remedy

    (tmp_path / "key").unlink()
    secrets.write("ssh", open=key_with(tmp_path, *options, "-N", ""))
    GitDriver({"sshPrivateKeySecret": {"name": "ssh", "key": "open"}}, secrets)


def test_what_is_no_key_is_refused_at_once(secrets):
    secrets.write("ssh", key="ssh-ed25519 AAAAC3Nz the public half")
    with pytest.raises(BadRequest, match="not a private key"):
        GitDriver({"sshPrivateKeySecret": {"name": "ssh", "key": "key"}}, secrets)


def test_a_password_of_two_lines_is_refused(secrets):
    secrets.write("creds", password="one\nhost=evil.example")
    with pytest.raises(BadRequest, match="passwordSecret"):
        GitDriver({"passwordSecret": {"name": "creds", "key": "password"}}, secrets)


@pytest.mark.parametrize(("repo", "field"), [("https://h/r", "sshPrivateKeySecret"), ("git@h:r", "passwordSecret")])
def test_credentials_of_another_transport_are_refused(tmp_path, secrets, repo, field):
    secrets.write("creds", value=key_with(tmp_path, "-t", "ed25519", "-N", ""))
    if field == "passwordSecret":
        secrets.write("creds", value="canary")
    found = failure(tmp_path, secrets, repo, **{field: {"name": "creds", "key": "value"}})

    assert type(found) is BadRequest
    assert field in found.message


# --- the machine ---


def test_nothing_of_the_machines_configuration_is_used(tmp_path, secrets, repository, monkeypatch):
    home = tmp_path / "home"
    hook = home / "hooks/post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
    hook.chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\n\thooksPath = {home}/hooks\n[url "/nowhere"]\n\tinsteadOf = {repository.path}\n'
    )
    for name, value in {
        "HOME": home, "GIT_CONFIG_GLOBAL": home / ".gitconfig", "GIT_TEMPLATE_DIR": home, "GIT_DIR": "/nowhere",
        "GIT_TRACE": tmp_path / "trace", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.bare",
        "GIT_CONFIG_VALUE_0": "true", "LANG": "de_DE.UTF-8", "GIT_EXEC_PATH": "/nowhere",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "tree"
    directory.mkdir()
    GitDriver({}, secrets).load_tree(str(repository.path), directory)

    assert (directory / "file-5").is_file()
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "trace").exists()


def test_a_repository_above_the_directory_is_not_used(tmp_path, secrets, repository):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "url./nowhere.insteadOf", str(repository.path))

    assert fetch(tmp_path, secrets, repository.path).branch == "main"


def test_a_configuration_that_git_cannot_read_is_not_gone_without(tmp_path, secrets, repository, monkeypatch):
    """As when /proc is not mounted: git itself would only warn."""
    real = shutil.which("git")
    program_before_git(tmp_path, monkeypatch, f'GIT_CONFIG_GLOBAL=/proc/none exec {real} "$@"')
    found = failure(tmp_path, secrets, repository.path)

    assert type(found) is Unsupported
    assert "/proc" in found.remedy


def test_without_git_the_remedy_is_to_install_it(tmp_path, secrets, repository, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = failure(tmp_path, secrets, repository.path)

    assert type(found) is Unsupported
    assert "install git" in found.remedy


def test_an_old_git_is_told_so(tmp_path, secrets, repository, monkeypatch):
    program_before_git(tmp_path, monkeypatch, "echo git version 2.25.1\n")
    found = failure(tmp_path, secrets, repository.path)

    assert type(found) is Unsupported
    assert "2.25" in found.message


def test_a_git_that_is_killed_is_worth_another_attempt(tmp_path, secrets, repository, monkeypatch):
    program_before_git(tmp_path, monkeypatch, "kill -9 $$\n")

    assert type(failure(tmp_path, secrets, repository.path)) is Unavailable


def test_what_git_says_beyond_our_knowledge_is_shown(tmp_path, secrets, repository, monkeypatch):
    program_before_git(
        tmp_path, monkeypatch, 'test "$1" != ls-remote || { echo "fatal: the moon is full" >&2; exit 3; }\n'
    )
    found = failure(tmp_path, secrets, repository.path)

    assert type(found) is Unavailable
    assert "git ended with 3 (fatal: the moon is full)" in found.message


def test_a_git_that_cannot_be_run_is_no_missing_artifact(tmp_path, secrets, repository, monkeypatch):
    program_before_git(tmp_path, monkeypatch, "")
    (tmp_path / "bin/git").write_text("#!/no/such/interpreter\n")

    assert type(failure(tmp_path, secrets, repository.path)) is Permanent


def test_what_fails_here_is_no_matter_of_the_server(tmp_path, secrets, repository, monkeypatch):
    program_before_git(
        tmp_path, monkeypatch,
        f'test "$1" = init && {{ echo "fatal: cannot do that" >&2; exit 1; }}; exec {shutil.which("git")} "$@"',
    )  # fmt: skip

    assert type(failure(tmp_path, secrets, repository.path)) is Permanent


# --- stopping ---


def hanging_git(tmp_path: Path) -> tuple[Path, Path]:
    """A git that, asked for a listing, starts a child and hangs with it; and a fifo that tells when."""
    program, started = tmp_path / "bin/git", tmp_path / "started"
    program.parent.mkdir()
    os.mkfifo(started)
    program.write_text(
        '#!/bin/sh\ntest "$1" = ls-remote || { echo git version 2.50; exit; }\n'
        f"sleep 1000 &\necho $$ $! >{started}\nwait\n"
    )
    program.chmod(0o755)
    return program, started


class Watched:
    """Processes whose ids are read from a fifo, held by their descriptors: a number may become another's."""

    def __init__(self, started: Path) -> None:
        self.descriptors: list[int] = []
        self._reader = threading.Thread(target=self._read, args=[started], daemon=True)
        self._reader.start()

    def _read(self, started: Path) -> None:
        self.descriptors = [os.pidfd_open(int(pid)) for pid in started.read_text().split()]

    def running(self) -> int:
        """Waits until all are known."""
        self._reader.join(30)
        return len(self.descriptors)

    def end(self) -> bool:
        """Whether all end by themselves: a signal takes a moment."""
        ended = [bool(select.select([one], [], [], 30)[0]) for one in self.descriptors]
        for one in self.descriptors:
            os.close(one)
        return all(ended)


def test_a_wish_to_stop_ends_git_and_all_it_started(tmp_path, secrets, monkeypatch):
    program, started = hanging_git(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    from lifecycle.errors import Terminated

    cancel = Cancel()
    ended: list[BaseException] = []

    def work() -> None:
        try:
            load(
                GitDriver({}, secrets), Location("git", {}, "/r"), tmp_path / "in", None, limits=Limits(), width=1,
                moved=Moved(cancel=cancel),
            )  # fmt: skip
        except LifecycleError as error:
            ended.append(error)

    watched = Watched(started)
    thread = threading.Thread(target=work)
    thread.start()
    assert watched.running() == 2
    cancel.set(Terminated("enough"))
    thread.join(30)

    assert [type(error) for error in ended] == [Unavailable]
    assert watched.end()
    assert not (tmp_path / "in").exists()


def test_a_driver_that_was_stopped_starts_nothing_more(tmp_path, secrets, repository):
    driver = GitDriver({}, secrets)
    driver.abort()
    directory = tmp_path / "tree"
    directory.mkdir()
    with pytest.raises(Unavailable, match="stopped"):
        driver.load_tree(str(repository.path), directory)

    assert list(directory.iterdir()) == []


def test_a_silent_git_times_out_and_is_gone(tmp_path, secrets, monkeypatch):
    from lifecycle.errors import TimedOut

    program, started = hanging_git(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    watched = Watched(started)
    directory = tmp_path / "tree"
    directory.mkdir()
    with pytest.raises(TimedOut):
        GitDriver({}, secrets, read_timeout=2.0).load_tree("/r", directory)  # it has to begin within it

    assert watched.running() == 2
    assert watched.end()


def test_nothing_is_left_open(tmp_path, secrets, repository):
    fetch(tmp_path, secrets, repository.path)
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        GitDriver({}, secrets).load_tree(str(repository.path), tmp_path / str(number))

    assert sorted(os.listdir("/proc/self/fd")) == before


# --- Argo's own example ---


@pytest.mark.argo_examples
def test_argos_own_example_gives_the_tree_of_its_tag(tmp_path, secrets):
    path = EXAMPLES / "input-artifact-git.yaml"
    if not path.is_file():
        pytest.skip("needs Argo's own examples: ARGO_EXAMPLES names the directory")
    artifact = yaml.safe_load(path.read_text())["spec"]["templates"][0]["inputs"]["artifacts"][0]
    location = of_artifact(artifact)
    assert location is not None
    repository = Repository.filled(tmp_path / "argo.git")
    repository.run("tag", location.config["revision"], "v1")
    repository.push("--tags")
    load(
        GitDriver(location.config, secrets), Location("git", location.config, str(repository.path)), tmp_path / "src",
        None, limits=Limits(), width=1, moved=Moved(),
    )  # fmt: skip

    assert git(tmp_path / "src", "describe", "--tags") in {"v1", "v2.1.1"}
    assert (tmp_path / "src/file-2").read_text().startswith("content 2")


def test_a_wrong_type_names_its_place(secrets):
    with pytest.raises(InputError, match=r"git\.branch"):
        GitDriver({"branch": 7}, secrets)
