"""git artifacts over http, https, ssh and the git protocol, from real servers, with real credentials."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from drivers.git import GitDriver
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    LifecycleError,
    Permanent,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from tests.drivers.test_git import Tree
from tests.servers.fixtures import Secrets
from tests.servers.gitdaemon import GitDaemon
from tests.servers.githttp import PASSWORD, USER, GitHttp
from tests.servers.httpd import Answer, Httpd
from tests.servers.process import deaf_port
from tests.servers.proxy import Fault, Proxy
from tests.servers.repository import Repository, git
from tests.servers.sshd import Sshd

_NUMBERS = itertools.count()
HTTP = {
    "usernameSecret": {"name": "creds", "key": "username"},
    "passwordSecret": {"name": "creds", "key": "password"},
}
SSH = {"sshPrivateKeySecret": {"name": "ssh", "key": "key"}}


@pytest.fixture(scope="module")
def repository(git_root: Path) -> Repository:
    made = Repository.filled(git_root / "module/origin.git")
    (made.path / "git-daemon-export-ok").touch()
    return made


@pytest.fixture
def fresh(git_root: Path) -> Path:
    """A place for a test's own repositories."""
    return git_root / str(next(_NUMBERS))


@pytest.fixture
def creds(secrets: Secrets) -> Secrets:
    secrets.write("creds", username=USER, password=PASSWORD)
    return secrets


@pytest.fixture
def ssh(secrets: Secrets, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    secrets.write("ssh", key=sshd.key, stranger=sshd.stranger)
    monkeypatch.setenv("SSH_KNOWN_HOSTS", str(sshd.known_hosts))
    return secrets


def fetch(tmp_path: Path, secrets: Secrets, repo: str, *, read_timeout: float = 60.0, **config: object) -> Tree:
    directory = tmp_path / "tree"
    directory.mkdir()
    GitDriver(config, secrets, read_timeout=read_timeout).load_tree(repo, directory)
    return Tree(directory)


def failure(tmp_path: Path, secrets: Secrets, repo: str, **config: object) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        fetch(tmp_path, secrets, repo, **config)
    for secret in (PASSWORD, quote(PASSWORD, safe=""), "canary"):
        assert secret not in everything_told(caught.value)
    return caught.value


def everything_told(error: BaseException | None) -> str:
    """The error, its remedy, and all the causes that a traceback would print."""
    told = ""
    while error is not None:
        told += f"{error!r} {error} {getattr(error, 'remedy', '')} {vars(error)}\n"
        error = error.__cause__ or error.__context__
    return told


# --- http ---


def test_a_password_opens_a_private_repository(tmp_path, creds, githttp: GitHttp, repository):
    tree = fetch(tmp_path, creds, f"{githttp.url}/private/module/origin.git", **HTTP)

    assert tree.head == repository.id("main")
    assert tree.git("remote", "get-url", "origin") == f"{githttp.url}/private/module/origin.git"


def test_credentials_of_the_url_work_and_do_not_stay(tmp_path, secrets, githttp: GitHttp, repository):
    url = f"http://{USER}:{quote(PASSWORD, safe='')}@{githttp.address}/private/module/origin.git"
    tree = fetch(tmp_path, secrets, url)

    assert tree.head == repository.id("main")
    assert tree.git("remote", "get-url", "origin") == f"{githttp.url}/private/module/origin.git"


def test_a_configured_password_goes_with_the_user_of_the_url(tmp_path, creds, githttp: GitHttp, repository):
    url = f"http://{USER}@{githttp.address}/private/module/origin.git"

    assert fetch(tmp_path, creds, url, passwordSecret=HTTP["passwordSecret"]).branch == "main"


@pytest.mark.parametrize(
    ("names", "sent"),
    [
        (("username", "password"), f"{USER}:{PASSWORD}"),
        (("password",), f"git:{PASSWORD}"),  # a token; git itself would send nothing without a user
        (("username",), f"{USER}:"),
    ],
)
def test_a_user_or_a_password_may_be_alone(tmp_path, creds, httpd: Httpd, names, sent):
    wants = Answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
    httpd.on("/r.git/info/refs?service=git-upload-pack", wants)
    found = failure(tmp_path, creds, f"{httpd.url}/r.git", **{f"{name}Secret": HTTP[f"{name}Secret"] for name in names})

    assert type(found) is Unauthorized
    assert authorizations(httpd)[-1] == f"Basic {base64.b64encode(sent.encode()).decode()}"


def test_a_public_repository_needs_none(tmp_path, secrets, githttp: GitHttp, repository):
    assert fetch(tmp_path, secrets, f"{githttp.url}/public/module/origin.git").branch == "main"


@pytest.mark.parametrize("revision", ["main", "v2", "refs/pull/1/head", "COMMIT"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_depth_with_a_revision_transfers_so_many_commits(
    tmp_path, creds, githttp: GitHttp, repository, revision, depth
):
    wanted = repository.id("main~2") if revision == "COMMIT" else revision
    tree = fetch(tmp_path, creds, f"{githttp.url}/private/module/origin.git", revision=wanted, depth=depth, **HTTP)

    assert tree.commits == depth


def test_a_wrong_password_is_unauthorized(tmp_path, creds, githttp: GitHttp, repository):
    creds.write("creds", password="canary-wrong")
    found = failure(tmp_path, creds, f"{githttp.url}/private/module/origin.git", **HTTP)

    assert type(found) is Unauthorized
    assert "passwordSecret" in found.remedy


def test_a_wrong_password_in_the_url_is_in_no_error(tmp_path, secrets, githttp: GitHttp, repository):
    found = failure(tmp_path, secrets, f"http://bob:canary-url@{githttp.address}/private/module/origin.git")

    assert type(found) is Unauthorized


def test_no_credentials_where_some_are_wanted(tmp_path, secrets, githttp: GitHttp, repository):
    found = failure(tmp_path, secrets, f"{githttp.url}/private/module/origin.git")

    assert type(found) is Unauthorized
    assert "asks for credentials" in found.message


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("private/none.git", BadRequest, "no such repository"),
        ("forbidden/r.git", Forbidden, "403"),
        ("busy/r.git", Unavailable, "503"),
        ("many/r.git", Throttled, "429"),
        ("page/r.git", BadRequest, "no such repository"),
    ],
)
def test_a_status_is_an_error_of_its_kind(tmp_path, creds, githttp: GitHttp, path, error, message):
    found = failure(tmp_path, creds, f"{githttp.url}/{path}", **HTTP)

    assert type(found) is error
    assert message in found.message
    assert f"{githttp.url}/{path}" in found.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 504])
def test_a_status_in_the_middle_is_one_too(tmp_path, secrets, httpd: Httpd, status):
    """The listing comes, the objects do not."""
    expected = {
        400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: BadRequest, 429: Throttled,
    }.get(status, Unavailable)  # fmt: skip
    kind = {"Content-Type": "application/x-git-upload-pack-advertisement"}
    tip = (
        f"{'a' * 40} HEAD\0multi_ack multi_ack_detailed side-band-64k ofs-delta symref=HEAD:refs/heads/main\n".encode()
    )
    refs = [b"# service=git-upload-pack\n", None, tip, b"a" * 40 + b" refs/heads/main\n", None]
    body = b"".join(b"0000" if line is None else f"{len(line) + 4:04x}".encode() + line for line in refs)
    httpd.on("/r.git/info/refs?service=git-upload-pack", Answer(200, body, kind))
    httpd.on("/r.git/git-upload-pack", Answer(status, b"sorry"))

    assert type(failure(tmp_path, secrets, f"{httpd.url}/r.git")) is expected


def test_an_empty_repository_over_http(tmp_path, creds, githttp: GitHttp, fresh):
    Repository(fresh / "empty.git")
    tree = fetch(tmp_path, creds, f"{githttp.url}/private/{fresh.name}/empty.git", branch="trunk", **HTTP)

    assert tree.branch == "trunk"
    assert tree.names == []


def test_nobody_answers(tmp_path, secrets):
    with deaf_port() as port:
        address = f"127.0.0.1:{port}"
        assert type(failure(tmp_path, secrets, f"http://{address}/r.git")) is Unavailable
        (tmp_path / "tree").rmdir()
        assert type(failure(tmp_path, secrets, f"git://{address}/r.git")) is Unavailable


# --- TLS ---


def test_a_certificate_of_nobody_is_not_trusted(tmp_path, creds, githttp: GitHttp, repository):
    found = failure(tmp_path, creds, f"{githttp.tls_url}/private/module/origin.git", **HTTP)

    assert type(found) is Permanent
    assert "certificate is not trusted" in found.message
    assert "SSL_CERT_FILE" in found.remedy


def test_a_certificate_need_not_be_trusted(tmp_path, creds, githttp: GitHttp, repository):
    url = f"{githttp.tls_url}/private/module/origin.git"

    assert fetch(tmp_path, creds, url, insecureSkipTLS=True, **HTTP).branch == "main"


def test_an_authority_can_be_named(tmp_path, creds, githttp: GitHttp, repository, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    assert fetch(tmp_path, creds, f"{githttp.tls_url}/private/module/origin.git", **HTTP).branch == "main"


def test_tls_where_there_is_none(tmp_path, creds, githttp: GitHttp):
    found = failure(tmp_path, creds, f"https://{githttp.address}/private/r.git", **HTTP)

    assert type(found) is Permanent
    assert "TLS" in found.message


# --- submodules, and who gets the credentials ---


def with_submodule(place: Path, url: str) -> Repository:
    made = Repository.filled(place / "super.git")
    made.add_submodule(url, "sub")
    made.push()
    return made


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("depth", [None, 1])
def test_private_submodules_on_the_same_host_come_with_the_same_password(
    tmp_path, creds, githttp: GitHttp, fresh, absolute, depth
):
    base = f"{githttp.url}/private/{fresh.name}"
    with_submodule(fresh, f"{base}/super.git-sub-source" if absolute else "../super.git-sub-source")
    tree = fetch(tmp_path, creds, f"{base}/super.git", depth=depth, **HTTP)

    assert (tree.path / "sub/file-5").is_file()
    assert tree.commits == (depth or 7)


def authorizations(httpd: Httpd) -> list[str | None]:
    return [request.headers["Authorization"] for request in httpd.requests]


def test_a_submodule_elsewhere_gets_no_password(tmp_path, creds, githttp: GitHttp, fresh, httpd: Httpd):
    wants = Answer(401, b"", {"WWW-Authenticate": 'Basic realm="give it to me"'})
    with_submodule(fresh, httpd.on("/evil.git", wants))
    httpd.on("/evil.git/info/refs?service=git-upload-pack", wants)
    found = failure(tmp_path, creds, f"{githttp.url}/private/{fresh.name}/super.git", **HTTP)

    assert type(found) is Unauthorized
    assert httpd.requests
    assert set(authorizations(httpd)) == {None}


def test_a_redirect_elsewhere_gets_no_password(tmp_path, creds, httpd: Httpd):
    with Httpd() as elsewhere:
        wants = Answer(401, b"", {"WWW-Authenticate": 'Basic realm="give it to me"'})
        path = "/r.git/info/refs?service=git-upload-pack"
        httpd.on(path, Answer(302, b"", {"Location": elsewhere.on(path, wants)}))
        found = failure(tmp_path, creds, f"{httpd.url}/r.git", **HTTP)

        assert type(found) is Unauthorized
        assert elsewhere.requests
        assert set(authorizations(elsewhere)) == {None}


def test_a_submodule_cannot_be_a_file_of_this_machine(tmp_path, creds, githttp: GitHttp, fresh):
    with_submodule(fresh, str(fresh / "super.git-sub-source"))
    found = failure(tmp_path, creds, f"{githttp.url}/private/{fresh.name}/super.git", **HTTP)

    assert type(found) is BadRequest
    assert "transport" in found.message
    assert "disableSubmodules" in found.remedy


# --- ssh ---


def test_a_key_opens_a_repository(tmp_path, ssh, sshd: Sshd, repository):
    tree = fetch(tmp_path, ssh, f"{sshd.url}{repository.path}", **SSH)

    assert tree.head == repository.id("main")
    assert tree.git("remote", "get-url", "origin") == f"{sshd.url}{repository.path}"


def test_a_key_with_the_line_ends_of_windows(tmp_path, ssh, sshd: Sshd, repository):
    ssh.write("ssh", key=sshd.key.replace("\n", "\r\n"))

    assert fetch(tmp_path, ssh, f"{sshd.url}{repository.path}", **SSH).branch == "main"


@pytest.mark.parametrize(("revision", "depth", "commits"), [("v2", 1, 1), ("main~1", 1, 2), ("refs/pull/1/head", 2, 2)])
def test_a_depth_holds_over_ssh(tmp_path, ssh, sshd: Sshd, repository, revision, depth, commits):
    tree = fetch(tmp_path, ssh, f"{sshd.url}{repository.path}", revision=revision, depth=depth, **SSH)

    assert tree.commits == commits


@pytest.mark.parametrize(("modern", "commits"), [(True, 1), (False, 6)])
def test_a_bare_commit_from_a_server_that_gives_them_and_one_that_does_not(
    tmp_path, secrets, repository, monkeypatch, modern, commits
):
    with Sshd.started(modern=modern) as server:
        secrets.write("ssh", key=server.key)
        monkeypatch.setenv("SSH_KNOWN_HOSTS", str(server.known_hosts))
        wanted = repository.id("main~1")
        tree = fetch(tmp_path, secrets, f"{server.url}{repository.path}", revision=wanted, depth=1, **SSH)

    assert tree.head == wanted
    assert tree.commits == commits


def test_a_stranger_is_unauthorized(tmp_path, ssh, sshd: Sshd, repository):
    found = failure(
        tmp_path, ssh, f"{sshd.url}{repository.path}", sshPrivateKeySecret={"name": "ssh", "key": "stranger"}
    )

    assert type(found) is Unauthorized
    assert "deploy keys" in found.remedy


def test_without_a_key_nobody_comes_in(tmp_path, ssh, sshd: Sshd, repository):
    assert type(failure(tmp_path, ssh, f"{sshd.url}{repository.path}")) is Unauthorized


def test_the_user_is_git_unless_the_url_names_one(tmp_path, ssh, sshd: Sshd, repository):
    found = failure(tmp_path, ssh, f"ssh://{sshd.address}{repository.path}", **SSH)

    assert type(found) is Unauthorized
    assert "git@127.0.0.1: Permission denied" in found.message


def test_a_damaged_key_is_not_taken_for_a_wrong_one(tmp_path, ssh, sshd: Sshd, repository):
    lines = sshd.key.splitlines()
    ssh.write("ssh", key="\n".join([*lines[:2], *lines[3:]]))
    found = failure(tmp_path, ssh, f"{sshd.url}{repository.path}", **SSH)

    assert type(found) is BadRequest
    assert "sshPrivateKeySecret" in found.message


def test_a_host_key_must_be_known(tmp_path, ssh, sshd: Sshd, repository, monkeypatch):
    monkeypatch.setenv("SSH_KNOWN_HOSTS", str(tmp_path / "nobody"))
    found = failure(tmp_path, ssh, f"{sshd.url}{repository.path}", **SSH)

    assert type(found) is Permanent
    assert "host key is not known" in found.message
    assert "ssh-keyscan" in found.remedy
    assert "SSH_KNOWN_HOSTS" in found.remedy
    assert "insecureIgnoreHostKey" in found.remedy


def test_a_host_key_that_has_changed_is_another_matter(tmp_path, ssh, sshd: Sshd, repository, monkeypatch):
    monkeypatch.setenv("SSH_KNOWN_HOSTS", str(sshd.liars))
    found = failure(tmp_path, ssh, f"{sshd.url}{repository.path}", **SSH)

    assert type(found) is Permanent
    assert "not the one that is known" in found.message


def test_known_hosts_of_the_home_count(tmp_path, ssh, sshd: Sshd, repository, monkeypatch):
    monkeypatch.delenv("SSH_KNOWN_HOSTS")
    home = tmp_path / "a home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/known_hosts").write_bytes(sshd.known_hosts.read_bytes())
    monkeypatch.setenv("HOME", str(home))

    assert fetch(tmp_path, ssh, f"{sshd.url}{repository.path}", **SSH).branch == "main"


@pytest.mark.parametrize("known", ["nobody", "liars"])
def test_a_host_key_can_be_ignored(tmp_path, ssh, sshd: Sshd, repository, monkeypatch, known):
    monkeypatch.setenv("SSH_KNOWN_HOSTS", str(sshd.liars if known == "liars" else tmp_path / "nobody"))

    assert fetch(tmp_path, ssh, f"{sshd.url}{repository.path}", insecureIgnoreHostKey=True, **SSH).branch == "main"
    assert not (tmp_path / "nobody").exists()


@pytest.mark.parametrize("absolute", [True, False])
def test_submodules_on_the_same_host_come_with_the_same_key(tmp_path, ssh, sshd: Sshd, fresh, absolute):
    made = with_submodule(fresh, f"{sshd.url}{fresh}/super.git-sub-source" if absolute else "../super.git-sub-source")

    assert (fetch(tmp_path, ssh, f"{sshd.url}{made.path}", **SSH).path / "sub/file-5").is_file()


def test_a_submodule_elsewhere_gets_no_key(tmp_path, ssh, sshd: Sshd, fresh, monkeypatch):
    """The same server by another name."""
    known = tmp_path / "known"
    text = sshd.known_hosts.read_text()
    known.write_text(text + text.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("SSH_KNOWN_HOSTS", str(known))
    made = with_submodule(fresh, f"{sshd.url}{fresh}/super.git-sub-source".replace("127.0.0.1", "localhost"))
    found = failure(tmp_path, ssh, f"{sshd.url}{made.path}", **SSH)

    assert type(found) is Unauthorized
    assert "localhost" in found.message


def test_a_repository_that_is_not_there_by_ssh(tmp_path, ssh, sshd: Sshd):
    found = failure(tmp_path, ssh, f"{sshd.url}/none.git", **SSH)

    assert type(found) is BadRequest
    assert "no such repository" in found.message


# --- the git protocol ---


@pytest.mark.parametrize(("revision", "depth"), [("v2", 1), ("COMMIT", 1), ("side", 2)])
def test_the_git_protocol(tmp_path, secrets, gitdaemon: GitDaemon, repository, revision, depth):
    wanted = repository.id("main~1") if revision == "COMMIT" else revision
    tree = fetch(tmp_path, secrets, f"{gitdaemon.url}/module/origin.git", revision=wanted, depth=depth)

    assert tree.commits == depth
    assert tree.head == repository.id("main~1" if revision == "COMMIT" else revision)


def test_a_repository_that_the_daemon_does_not_export(tmp_path, secrets, gitdaemon: GitDaemon):
    found = failure(tmp_path, secrets, f"{gitdaemon.url}/none.git")

    assert type(found) is BadRequest
    assert "no such repository" in found.message


def test_the_git_protocol_knows_no_passwords(tmp_path, creds):
    assert type(failure(tmp_path, creds, "git://127.0.0.1/r.git", **HTTP)) is BadRequest


# --- servers that say nothing more ---


def big(place: Path) -> Repository:
    made = Repository(place / "big.git")
    (made.work / "noise").write_bytes(os.urandom(4 << 20))
    made.commit("small", "x")
    made.push()
    (made.path / "git-daemon-export-ok").touch()
    return made


def reach(kind: str, request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch, secrets: Secrets):
    """A proxy before a server, the URL through it, and the configuration."""
    if kind == "http":
        secrets.write("creds", username=USER, password=PASSWORD)
        server = request.getfixturevalue("githttp")
        proxy = Scanning(server.address)
        return proxy, f"http://{proxy.address}/private/{path.parent.name}/{path.name}", HTTP
    if kind == "git":
        proxy = Scanning(request.getfixturevalue("gitdaemon").address)
        return proxy, f"git://{proxy.address}/{path.parent.name}/{path.name}", {}
    server = request.getfixturevalue("sshd")
    secrets.write("ssh", key=server.key)
    proxy = Scanning(server.address)
    known = path.parent / "known"
    known.write_text(server.known_hosts.read_text().replace(server.address.split(":")[1], proxy.address.split(":")[1]))
    monkeypatch.setenv("SSH_KNOWN_HOSTS", str(known))
    return proxy, f"ssh://{server.user}@{proxy.address}{path}", SSH


class Scanning(Proxy):
    """Looks, when a fault is met, at what everybody on this machine can see of every process."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.seen: list[bytes] = []

    def _meet(self, fault: Fault) -> bool:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (process / "environ").read_bytes()
                if b"GIT_PROJECT_ROOT=" not in environment:  # the server's own CGI knows what it was sent
                    self.seen += [environment, (process / "cmdline").read_bytes()]
        return super()._meet(fault)


@pytest.mark.parametrize("kind", ["http", "ssh", "git"])
def test_a_server_that_falls_silent_times_out(tmp_path, secrets, request, fresh, monkeypatch, kind):
    proxy, url, config = reach(kind, request, big(fresh).path, monkeypatch, secrets)
    with proxy:
        proxy.plan(Fault("silence", after=1 << 20))
        found = failure(tmp_path, secrets, url, read_timeout=2.5, **config)  # ssh needs some of it to log in

    assert type(found) is TimedOut
    assert len(proxy.met) == 1


@pytest.mark.parametrize("kind", ["http", "ssh", "git"])
@pytest.mark.parametrize("fault", ["cut", "end"])
def test_a_server_that_goes_away_is_worth_another_attempt(tmp_path, secrets, request, fresh, monkeypatch, kind, fault):
    proxy, url, config = reach(kind, request, big(fresh).path, monkeypatch, secrets)
    with proxy:
        proxy.plan(Fault(fault, after=1 << 20))
        found = failure(tmp_path, secrets, url, **config)

    assert type(found) is Unavailable
    assert len(proxy.met) == 1


# --- where no secret must be ---


@pytest.mark.parametrize("kind", ["http", "ssh"])
def test_no_secret_is_anywhere_but_in_memory(tmp_path, secrets, request, fresh, monkeypatch, caplog, kind):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    made = big(fresh)
    made.add_submodule("../big.git-sub-source", "sub")
    made.push()
    proxy, url, config = reach(kind, request, made.path, monkeypatch, secrets)
    if kind == "http":
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode())
        canaries = [PASSWORD.encode(), quote(PASSWORD, safe="").encode(), pair]
    else:
        canaries = [line.encode() for line in (secrets.root / "ssh/key").read_text().splitlines()[1:-1]]
    with proxy, caplog.at_level("DEBUG"):
        proxy.plan(Fault("cut", after=1 << 20))
        found = failure(tmp_path, secrets, url, **config)
        broken = list(proxy.seen)
        (tmp_path / "tree").rename(tmp_path / "broken")
        tree = fetch(tmp_path, secrets, url, **config)

    assert any(b"fetch\0--progress" in one for one in broken)  # git was among them, and what it has started
    assert any({"http": b"git-remote-http", "ssh": b"ssh\0-F\0/proc/"}[kind] in one for one in broken)
    assert (tree.path / "sub/file-5").is_file()
    files = [path for place in ("tree", "broken", "temporary") for path in (tmp_path / place).rglob("*")]
    told = [*broken, everything_told(found).encode(), caplog.text.encode()]
    told += [path.read_bytes() for path in files if path.is_file() and not path.is_symlink()]
    assert [canary for canary in canaries for text in told if canary in text] == []
    assert list(temporary.iterdir()) == []
    assert "/proc/" not in (tree.path / ".git/config").read_text()


def test_what_a_server_says_cannot_show_the_password(tmp_path, creds, httpd: Httpd):
    """It knows it, after all, and may say it in words that git prints."""
    wants = Answer(401, b"", {"WWW-Authenticate": "Basic realm=x"})
    told = Answer(500, f"hello {PASSWORD}".encode(), {"Content-Type": "text/plain"})
    httpd.on("/r.git/info/refs?service=git-upload-pack", wants, told)
    found = failure(tmp_path, creds, f"{httpd.url}/r.git", **HTTP)

    assert "***" in everything_told(found)


@pytest.mark.parametrize("words", ["fatal: No space left on device", "Host key verification failed.", "timed out"])
def test_what_a_server_says_decides_nothing(tmp_path, secrets, httpd: Httpd, words):
    told = Answer(500, words.encode(), {"Content-Type": "text/plain"})
    httpd.on("/r.git/info/refs?service=git-upload-pack", told)
    found = failure(tmp_path, secrets, f"{httpd.url}/r.git")

    assert type(found) is Unavailable
    assert "HTTP status 500" in found.message
    assert words in everything_told(found)


def test_git_of_the_tests_finds_no_configuration_of_the_machine(tmp_path):
    assert git(tmp_path, "config", "--list", "--global") == ""
