"""``argoexec run`` and ``wait`` with a real S3 server that verifies signatures: there and back, and what goes wrong."""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import QUICK_RETRIES, entries
from tests.servers.seaweedfs import READER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import ControlledPod, Runner
    from tests.servers.seaweedfs import SeaweedFS

pytestmark = [pytest.mark.sandbox, pytest.mark.server("seaweedfs")]

WRONG = "wr0ng-but-s3cret-all-the-same"
KEYS = {"accessKeySecret": {"name": "s3", "key": "access"}, "secretKeySecret": {"name": "s3", "key": "secret"}}
MAKES = (
    "umask 022; mkdir -p /d/sub/empty; echo 1 > /d/one; echo 2 > '/d/sub/two ü'; ln -s one /d/link; chmod 755 /d/one;"
    "echo single > /tmp/f.txt; echo 7 > /tmp/p; echo to the log"
)


class Store:
    """The server, the secrets for it, and a prefix of the test's own."""

    def __init__(self, runner: Runner, weed: SeaweedFS, prefix: str) -> None:
        self.weed = weed
        self.prefix = prefix
        self.client = weed.client()
        self.secrets = runner.directory / "secrets"
        self._runner = runner
        self.secret("s3", weed.access_key, f"{weed.secret_key}\n")
        self.secret("wrong", weed.access_key, WRONG)
        self.secret("stranger", "AKNOBODY", WRONG)
        self.secret("reader", READER.access_key, READER.secret_key)

    def secret(self, name: str, access: str, secret: str) -> None:
        (self.secrets / name).mkdir(parents=True)
        (self.secrets / name / "access").write_text(access)
        (self.secrets / name / "secret").write_text(secret)

    def at(self, key: str, secret: str = "s3", **more: Any) -> dict[str, Any]:
        """A location as a controller writes it."""
        selectors = {name: selector | {"name": secret} for name, selector in KEYS.items()}
        location = {"endpoint": self.weed.endpoint, "bucket": self.weed.bucket, "insecure": True, **selectors}
        return {"s3": location | more | {"key": f"{self.prefix}/{key}"}}

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.weed.bucket, Key=f"{self.prefix}/{key}", Body=data)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.weed.bucket, Key=f"{self.prefix}/{key}")["Body"].read()

    def listed(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.weed.bucket, Prefix=f"{self.prefix}/")
        return sorted(one["Key"].removeprefix(f"{self.prefix}/") for one in listed.get("Contents", ()))

    def run(self, template: dict[str, Any], *argv: object, status: int = 0, name: str = "wf") -> dict[str, Any]:
        """Run it; whatever comes of it, no secret is in it."""
        program = self._runner.start(
            template, "--secrets", self.secrets, "--loglevel", "debug", *argv, name=name, **QUICK_RETRIES
        )
        program.end(status)
        self.check_secrecy({"stdout": program.stdout, "stderr": program.stderr})
        return program.result()

    def check_secrecy(self, written: dict[str, str]) -> None:
        places = {name: text.encode() for name, text in written.items()}
        places |= {
            str(path): path.read_bytes()
            for path in self._runner.directory.rglob("*")
            if path.is_file() and not path.is_symlink() and not path.is_relative_to(self.secrets)
        }
        assert len(places) > len(written)
        for secret in (WRONG, READER.secret_key, self.weed.secret_key):
            assert [place for place, text in places.items() if secret.encode() in text] == []


@pytest.fixture
def store(runner: Runner, weed: SeaweedFS, request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store(runner, weed, re.sub(r"\W+", "-", request.node.name).strip("-"))
    yield store
    store.client.close()


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"container": {"command": ["sh", "-ec", script]}, **more}


def items(result: dict[str, Any], phase: str) -> dict[str, dict[str, Any]]:
    (found,) = [one for one in result["lifecycle"] if one["phase"] == phase]
    return {item["name"]: item for item in found["items"]}


OUTPUTS = {
    "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
    "artifacts": [
        {"name": "tree", "path": "/d"},
        {"name": "objects", "path": "/d", "archive": {"none": {}}},
        {"name": "single", "path": "/tmp/f.txt", "archive": {"none": {}}},
        {"name": "packed", "path": "/tmp/f.txt"},
    ],
}


# --- there and back ---------------------------------------------------------------------------------------------------


def test_what_one_run_saves_another_loads(store):
    first = store.run(shell(MAKES, outputs=OUTPUTS, archiveLocation=store.at("wf/pod")), name="first")

    saved = {one["name"]: one for one in first["outputs"]["artifacts"]}
    assert list(saved) == ["tree", "objects", "single", "packed", "main-logs"]
    suffixes = {"tree": "tree.tgz", "objects": "d", "single": "f.txt", "packed": "packed.tgz", "main-logs": "main.log"}
    for name, suffix in suffixes.items():
        assert saved[name]["s3"] == store.at(f"wf/pod/{suffix}")["s3"]
    assert store.listed() == [f"wf/pod/{key}" for key in
                            ("d/one", "d/sub/two ü", "f.txt", "main.log", "packed.tgz", "tree.tgz")]  # fmt: skip
    assert store.get("wf/pod/main.log") == b"to the log\n"
    assert store.get("wf/pod/f.txt") == b"single\n"
    assert {item["attempts"] for item in items(first, "saving").values()} == {1}

    inputs = [{"name": name, "path": f"/in/{name}", "s3": saved[name]["s3"]} for name in suffixes]
    kept = {"name": "kept", "path": "/in/kept", "archive": {"none": {}}, "s3": saved["tree"]["s3"]}
    second = store.run(
        {
            "inputs": {"artifacts": [*inputs, kept]},
            "script": {
                "command": ["sh", "-e"],
                "source": "cd /in\n"
                "for d in tree objects; do echo $d; (cd $d; find . -type f -o -type l | sort); cat $d/sub/two*; done\n"
                "readlink tree/link; stat -c %a tree/one; test -d tree/sub/empty\n"
                "cat single packed main-logs; tar -tzf kept | head -1",
            },
        },
        name="second",
    )

    assert second["outputs"]["result"].splitlines() == [
        "tree", "./link", "./one", "./sub/two ü", "2",
        "objects", "./one", "./sub/two ü", "2",
        "one", "755", "single", "single", "to the log", "d/",
    ]  # fmt: skip
    assert {item["state"] for item in items(second, "loading").values()} == {"loaded"}


def test_many_objects_and_more_than_one_part_come_back_as_they_were(store):
    """A page of a listing has a thousand; a part of an upload has megabytes."""
    make = (
        "import os, random; r = random.Random(5)\n"
        "for n in range(1100):\n"
        "    os.makedirs(f'/d/{n % 7}', exist_ok=True); open(f'/d/{n % 7}/{n}', 'w').write(str(n))\n"
        "f = open('/tmp/big', 'wb')\n"
        "for n in range(40): f.write(r.randbytes(1 << 20))\n"
    )
    outputs = {"artifacts": [{"name": "d", "path": "/d", "archive": {"none": {}}},
                             {"name": "big", "path": "/tmp/big", "archive": {"none": {}}}]}  # fmt: skip
    store.run({"script": {"command": ["python3"], "source": make}, "outputs": outputs,
               "archiveLocation": store.at("many")}, name="first")  # fmt: skip

    check = (
        "import hashlib, pathlib, random; r = random.Random(5); h = hashlib.sha256()\n"
        "for n in range(40): h.update(r.randbytes(1 << 20))\n"
        "assert hashlib.sha256(open('/big', 'rb').read()).digest() == h.digest()\n"
        "files = [p for p in pathlib.Path('/d').rglob('*') if p.is_file()]\n"
        "assert all(p.read_text() == p.name for p in files); print(len(files))\n"
    )
    inputs = {"artifacts": [{"name": "d", "path": "/d", **store.at("many/d")},
                            {"name": "big", "path": "/big", **store.at("many/big")}]}  # fmt: skip
    second = store.run({"script": {"command": ["python3"], "source": check}, "inputs": inputs}, name="second")

    assert second["outputs"]["result"] == "1100"


def test_main_that_fails_has_its_outputs_saved(store):
    result = store.run(
        shell(f"{MAKES}; exit 3", outputs=OUTPUTS, archiveLocation=store.at("failed")), status=3
    )  # fmt: skip

    assert (result["phase"], result["exitCode"]) == ("Failed", 3)
    assert store.get("failed/main.log") == b"to the log\n"
    assert "failed/tree.tgz" in store.listed()


def test_an_input_with_only_a_key_is_in_the_archive_location(store):
    store.put("only/a", b"found")
    result = store.run(
        {
            "inputs": {"artifacts": [{"name": "a", "path": "/a", "s3": {"key": f"{store.prefix}/only/a"}}]},
            "script": {"command": ["sh"], "source": "cat /a"},
            "archiveLocation": store.at("out"),
        }
    )

    assert result["outputs"]["result"] == "found"


@pytest.fixture
def cluster(controlled: ControlledPod, store: Store) -> ControlledPod:
    """A controller's pod that has the store's secrets."""
    controlled.environ["ARGOEXEC_SECRETS"] = str(store.secrets)
    return controlled


def test_wait_annotates_as_the_original_does(cluster, store, weed):
    """Spec 1.15, byte by byte, keys in the order of Go's structs."""
    cluster.lay_out(
        outputs=OUTPUTS | {"artifacts": [*OUTPUTS["artifacts"][:1], {
            "name": "own", "path": "/tmp/f.txt", "optional": True, "archive": {"none": {}}, **store.at("own.bin")}]},
        archiveLocation={"archiveLogs": True} | store.at("wf/pod"),
        container={"command": ["sh", "-ec", MAKES]},
    )  # fmt: skip

    cluster.start_main()
    cluster.wait()

    def s3(key: str) -> str:
        return (
            f'"s3":{{"endpoint":"{weed.endpoint}","bucket":"artifacts","insecure":true,'
            '"accessKeySecret":{"name":"s3","key":"access"},"secretKeySecret":{"name":"s3","key":"secret"},'
            f'"key":"{store.prefix}/{key}"}}'
        )

    assert cluster.outputs == (
        '{"parameters":[{"name":"p","value":"7","valueFrom":{"path":"/tmp/p"}}],"artifacts":['
        f'{{"name":"tree","path":"/d",{s3("wf/pod/tree.tgz")}}},'
        f'{{"name":"own","path":"/tmp/f.txt",{s3("own.bin")},"archive":{{"none":{{}}}},"optional":true}},'
        f'{{"name":"main-logs","archiveLogs":true,{s3("wf/pod/main.log")}}}'
        "]}"
    )
    assert store.get("own.bin") == b"single\n"
    archive = cluster.base / "tree.tgz"
    archive.write_bytes(store.get("wf/pod/tree.tgz"))
    assert entries(archive) == [
        ("d", "directory", 0o755, ""), ("d/link", "link", 0o777, "one"), ("d/one", "file", 0o755, b"1\n"),
        ("d/sub", "directory", 0o755, ""), ("d/sub/empty", "directory", 0o755, ""),
        ("d/sub/two ü", "file", 0o644, b"2\n"),
    ]  # fmt: skip


def test_init_and_wait_name_bucket_key_and_cause(cluster, store, weed):
    cluster.lay_out(
        inputs={"artifacts": [{"name": "a", "path": "/a", **store.at("none")}]},
        outputs={"artifacts": [{"name": "o", "path": "/tmp/f.txt"}]},
        archiveLocation=store.at("wf", "wrong"),
        container={"command": ["sh", "-ec", MAKES]},
    )

    init = cluster.init("--loglevel", "debug", status=1)
    message = cluster.message
    cluster.start_main()
    wait = cluster.wait("--loglevel", "debug", status=1)

    for text in (message, init.stderr):
        assert "NoSuchKey" in text
        assert f"{store.prefix}/none" in text
    for text in (cluster.message, wait.stderr, cluster.termination_log.read_text()):
        assert "SignatureDoesNotMatch" in text
        assert f"{store.prefix}/wf/o.tgz" in text
        assert repr(weed.bucket) in text
    store.check_secrecy({"init": init.stdout + init.stderr, "wait": wait.stdout + wait.stderr})


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("secret", "cause"), [("wrong", "SignatureDoesNotMatch"), ("stranger", "InvalidAccessKeyId")])
def test_a_wrong_secret_ends_loading_at_the_first_attempt(store, weed, secret, cause):
    store.put("there", b"x")
    result = store.run(
        shell("true", inputs={"artifacts": [{"name": "a", "path": "/a", **store.at("there", secret)}]}), status=1
    )

    assert (result["phase"], result["exitCode"]) == ("Error", None)
    for text in (repr(weed.bucket), f"{store.prefix}/there", cause, f"secret {secret!r}"):
        assert text in result["message"]
    assert items(result, "loading")["a"]["attempts"] == 1
    assert "starting" not in [one["phase"] for one in result["lifecycle"]]


@pytest.mark.parametrize("archive", ["tar", "none"])
def test_a_wrong_secret_ends_saving_at_the_first_attempt(store, weed, archive):
    artifact = {"name": "o", "path": "/tmp/f.txt", "archive": {archive: {}}, **store.at("out", "wrong")}
    outputs = {"artifacts": [artifact], "parameters": OUTPUTS["parameters"]}
    result = store.run(shell(MAKES, outputs=outputs), status=1)

    assert (result["phase"], result["exitCode"]) == ("Error", 0)
    for text in (repr(weed.bucket), f"{store.prefix}/out", "SignatureDoesNotMatch"):
        assert text in result["message"]
    assert items(result, "saving")["o"]["attempts"] == 1
    assert result["outputs"]["parameters"][0]["value"] == "7"
    assert [one["name"] for one in result["outputs"]["artifacts"]] == ["main-logs"]
    assert store.listed() == []


def test_a_secret_that_may_only_read_is_told_what_it_lacks(store, weed):
    store.put("there", b"x")
    result = store.run(
        shell(
            "cp /a /tmp/o",
            inputs={"artifacts": [{"name": "a", "path": "/a", **store.at("there", "reader")}]},
            outputs={"artifacts": [{"name": "o", "path": "/tmp/o", **store.at("out", "reader")}]},
        ),
        status=1,
    )

    assert items(result, "loading")["a"]["state"] == "loaded"
    for text in ("s3:PutObject", f"{store.prefix}/out", repr(weed.bucket)):
        assert text in result["message"]
    assert items(result, "saving")["o"]["attempts"] == 1
    assert store.listed() == ["there"]


@pytest.mark.parametrize("optional", [False, True])
def test_an_unknown_bucket_is_an_error_even_of_an_optional_input(store, optional):
    location = store.at("a", bucket="nowhere")
    inputs = {"artifacts": [{"name": "a", "path": "/a", "optional": optional, **location}]}
    result = store.run(shell("true", inputs=inputs), status=1)

    assert result["phase"] == "Error"
    for text in ("'nowhere'", f"{store.prefix}/a", "NoSuchBucket"):
        assert text in result["message"]
    assert items(result, "loading")["a"]["attempts"] == 1


def test_a_bucket_that_cannot_be_is_an_error_of_an_output(store):
    """One that is merely unknown this server makes for whoever may write everywhere."""
    outputs = {"artifacts": [{"name": "o", "path": "/tmp/f.txt", **store.at("o", bucket="not a bucket")}]}
    result = store.run(shell(MAKES, outputs=outputs), status=1)

    assert result["phase"] == "Error"
    for text in ("artifact o", "not a bucket", f"{store.prefix}/o"):
        assert text in result["message"]
    assert items(result, "saving")["o"]["attempts"] == 1


def test_a_key_that_is_not_there_is_an_error_that_names_it(store, weed):
    store.put("there/too", b"x")
    inputs = {"artifacts": [{"name": name, "path": f"/{name}", **store.at(name)} for name in ("none", "there")]}
    result = store.run(shell("true", inputs=inputs), status=1)

    assert result["phase"] == "Error"
    for text in (repr(weed.bucket), f"{store.prefix}/none", "NoSuchKey", "loading: input none"):
        assert text in result["message"]
    assert {name: item["state"] for name, item in items(result, "loading").items()} == {
        "none": "failed", "there": "loaded",
    }  # fmt: skip
    assert items(result, "loading")["none"]["attempts"] == 1


def test_a_key_that_is_not_there_is_skipped_when_optional(store):
    inputs = {"artifacts": [{"name": "none", "path": "/in/none", "optional": True, **store.at("none")}]}
    result = store.run(shell('test -z "$(ls -A /in/none)"', inputs=inputs))  # the kubelet makes an empty directory

    assert result["phase"] == "Succeeded"
    assert items(result, "loading")["none"]["state"] == "skipped"


def test_a_secret_that_is_not_there_is_bad_input(store, runner):
    (store.secrets / "s3/secret").unlink()
    program = runner.start(
        shell("true", inputs={"artifacts": [{"name": "a", "path": "/a", **store.at("a")}]}), "--secrets", store.secrets
    )

    program.end(2)

    assert program.stdout == ""
    for text in ("'s3'", "'secret'"):
        assert text in program.stderr
    assert not (runner.directory / ".argoexec").exists()


def test_an_archive_that_leads_out_leaves_nothing_behind(store, runner, tmp_path):
    with tarfile.open(tmp_path / "evil.tgz", "w:gz") as tar:
        member = tarfile.TarInfo("../../evil")
        tar.addfile(member)
    store.put("evil.tgz", (tmp_path / "evil.tgz").read_bytes())
    result = store.run(
        shell("true", inputs={"artifacts": [{"name": "a", "path": "/a", **store.at("evil.tgz")}]}), status=1
    )

    assert "../../evil" in result["message"]
    assert items(result, "loading")["a"]["attempts"] == 1
    assert not list((runner.directory / ".argoexec/wf/pod/volumes/input-artifacts").iterdir())
