"""The bridge to fsspec: both of its conformance runs, and what only it does."""

from __future__ import annotations

import gc
import io
import os
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from drivers.conformance import Bytes, DriverConformance, Store
from drivers.fsspec import FsspecDriver
from lifecycle.errors import Forbidden, InputError, NotFound, Permanent, Unauthorized, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def driver(secrets) -> FsspecDriver:
    return FsspecDriver({}, secrets)


class TestMemory(DriverConformance):
    flat = False  # it keeps what it is given
    # fsspec takes white space off the ends of its memory paths.
    odd_names = tuple(name for name in DriverConformance.odd_names if name == name.strip())

    @pytest.fixture
    def store(self, driver: FsspecDriver) -> Iterator[Store]:
        name = uuid.uuid4().hex
        yield Store(driver, f"memory://{name}")
        memory = MemoryFileSystem(skip_instance_cache=True)
        if memory.exists(name):
            memory.rm(name, recursive=True)


class TestFile(DriverConformance):
    @pytest.fixture
    def store(self, driver: FsspecDriver, tmp_path: Path) -> Store:
        return Store(driver, f"file://{tmp_path}/store")


class TestPath(DriverConformance):
    flat = False  # measured under file://

    @pytest.fixture
    def store(self, driver: FsspecDriver, tmp_path: Path) -> Store:
        return Store(driver, f"{tmp_path}/store")


class Broken(MemoryFileSystem):
    """Fails as it is told to."""

    protocol = "broken"
    failure: Exception

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("broken://")

    def _open(self, *args: object, **kwargs: object) -> object:
        raise self.failure

    find = ls = info = _open


@pytest.fixture
def broken():
    one = type("Broken", (Broken,), {})  # of this test alone, which may change it
    fsspec.register_implementation("broken", one, clobber=True)
    return one


def test_a_file_that_is_being_written_is_not_seen(driver: FsspecDriver, tmp_path: Path):
    seen: list[list[str]] = []

    class Source(Bytes):
        def read(self, size: int = -1, /) -> bytes:
            seen.append([entry.path for entry in driver.list(str(tmp_path))])
            assert not (tmp_path / "object").exists()
            return super().read(size)

    driver.save(str(tmp_path / "object"), Source(3 << 20), None)

    assert seen[1:] == [[]] * (len(seen) - 1)
    assert os.listdir(tmp_path) == ["object"]


def test_a_failed_save_keeps_the_file_that_was_there(driver: FsspecDriver, tmp_path: Path):
    (tmp_path / "object").write_bytes(b"old")
    with pytest.raises(RuntimeError):
        driver.save(f"file://{tmp_path}/object", Bytes(3 << 20, failure=RuntimeError("broke")), None)

    assert (tmp_path / "object").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["object"]


def test_the_longest_name_of_a_file_can_be_saved(driver: FsspecDriver, tmp_path: Path):
    name = "n" * 255
    driver.save(f"{tmp_path}/{name}", io.BytesIO(b"x"), 1)

    assert (tmp_path / name).read_bytes() == b"x"


def test_links_to_files_count_and_loops_and_devices_do_not(driver: FsspecDriver, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")

    assert [entry.path for entry in driver.list(str(tmp_path))] == ["file", "to-file"]


@pytest.mark.parametrize("name", ["fifo", "directory"])
def test_what_is_no_file_is_not_found(driver: FsspecDriver, tmp_path: Path, name: str):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    with pytest.raises(NotFound):
        driver.open(f"file://{tmp_path}/{name}")


def test_a_file_in_the_way_of_a_directory_is_told(driver: FsspecDriver, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(Permanent, match="file"):
        driver.save(f"file://{tmp_path}/file/below", io.BytesIO(b"x"), 1)


def test_chains_are_followed(driver: FsspecDriver, tmp_path: Path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner/file", b"data")
    with driver.open(f"zip://inner/file::file://{tmp_path}/a.zip") as stream:
        assert stream.read() == b"data"


@pytest.mark.parametrize("url", ["s3://bucket/key", "s3a://bucket/key", "simplecache::s3://bucket/key"])
def test_s3_urls_are_sent_to_the_s3_location(driver: FsspecDriver, url: str):
    with pytest.raises(Unsupported) as caught:
        driver.open(url)

    assert "`s3` location" in caught.value.remedy


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://127.0.0.1:1/x", "zip://x::https://127.0.0.1:1/x"])
def test_http_urls_are_sent_to_the_http_location(driver: FsspecDriver, url: str):
    with pytest.raises(Unsupported) as caught:  # fsspec: FileNotFoundError, as the connection is refused
        driver.open(url)

    assert "`http` location" in caught.value.remedy


def test_a_missing_file_that_an_option_names_is_not_the_object(secrets):
    with pytest.raises(InputError, match=r"fsspec\.options"):
        FsspecDriver({"options": {"fo": "/no/such.json"}}, secrets).open("reference://x")


def test_the_object_of_a_chain_may_be_missing(driver: FsspecDriver, tmp_path: Path):
    with pytest.raises(NotFound):
        driver.open(f"zip://x::file://{tmp_path}/none.zip")


def test_a_protocol_nobody_knows_is_named(driver: FsspecDriver):
    with pytest.raises(InputError, match="nosuch://"):
        driver.open("nosuch://host/x")


def test_a_missing_package_is_named(driver: FsspecDriver):
    with pytest.raises(Unsupported, match=r"smb://.*smbprotocol"):
        driver.open("smb://host/x")


def test_a_url_that_cannot_be_parsed_is_refused_and_not_shown(driver: FsspecDriver):
    with pytest.raises(InputError, match=r"fsspec\.url") as caught:
        driver.open("memory://user:s3cr3t@exa\u2100mple/a")

    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_empty_url_is_refused(driver: FsspecDriver):
    with pytest.raises(InputError):
        driver.open("")


def test_options_and_their_secrets_reach_the_filesystem(secrets, broken):
    made: list[dict[str, object]] = []

    class Recording(MemoryFileSystem):
        def __init__(self, **options: object) -> None:
            super().__init__()
            made.append(options)

    fsspec.register_implementation("recording", Recording, clobber=True)
    secrets.write("store", password="s3cr3t\n")
    reference = {"secretKeyRef": {"name": "store", "key": "password"}}
    driver = FsspecDriver({"options": {"user": "me", "auth": {"password": reference}}}, secrets)
    with pytest.raises(NotFound):
        driver.open("recording://x")

    assert made == [{"user": "me", "auth": {"password": "s3cr3t"}}]


def test_a_missing_secret_is_named(secrets):
    with pytest.raises(Unauthorized, match="store"):
        FsspecDriver({"options": {"password": {"secretKeyRef": {"name": "store", "key": "k"}}}}, secrets)


@pytest.mark.parametrize("options", ["text", {"password": {"secretKeyRef": {}}}])
def test_options_of_another_shape_are_refused(secrets, options: object):
    with pytest.raises(InputError):
        FsspecDriver({"options": options}, secrets)


def test_options_the_filesystem_does_not_take_are_an_input_error(secrets):
    with pytest.raises(InputError, match="memory"):
        FsspecDriver({"options": {"skip_instance_cache": 1}}, secrets).open("memory://x")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (FileNotFoundError("x"), NotFound),
        (PermissionError(13, "no"), Forbidden),
        (NotImplementedError(), Unsupported),
        (ImportError("needs foo"), Unsupported),
        (KeyError("what"), Permanent),
    ],
)
def test_errors_are_told_by_type(driver: FsspecDriver, broken, raised: Exception, expected: type[Exception]):
    broken.failure = raised
    with pytest.raises(expected) as caught:
        driver.open("broken://user:hidden@host/x")

    assert type(caught.value) is expected
    assert "broken://host/x" in str(caught.value)
    assert "hidden" not in repr(caught.value)


def test_what_a_backend_that_knows_a_secret_says_is_not_passed_on(secrets, broken):
    secrets.write("store", password="s3cr3t")
    driver = FsspecDriver({"options": {"password": {"secretKeyRef": {"name": "store", "key": "password"}}}}, secrets)
    broken.failure = RuntimeError("login with s3cr3t failed")
    with pytest.raises(Permanent, match="RuntimeError, whose text may quote a secret") as error:
        driver.open("broken://x")
    assert error.value.__cause__ is None


class Late(MemoryFileSystem):
    """An object store: an object is made by the last request, of what its file has sent until then."""

    protocol = "late"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    committed: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("late://").lstrip("/")

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        return _LateFile(self, path, mode, block_size=1 << 20) if mode == "wb" else super()._open(path, mode, **kwargs)


class _LateFile(AbstractBufferedFile):
    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self.parts.append(self.buffer.getvalue())
        if final:
            self.fs.store[self.path] = MemoryFile(self.fs, self.path, b"".join(self.parts))
            self.fs.committed.append(self.path)
        return True


def test_a_failed_save_to_an_object_store_commits_nothing_then_or_later(driver: FsspecDriver):
    fsspec.register_implementation("late", Late, clobber=True)
    driver.save("late://it", io.BytesIO(b"old" * 1000), None)
    with pytest.raises(RuntimeError):
        driver.save("late://it", Bytes(9 << 20, failure=RuntimeError("broke")), None)
    gc.collect()  # fsspec's files are closed when they are forgotten, and closing commits

    assert Late.committed == ["/it"]
    with driver.open("late://it") as stream:
        assert stream.read() == b"old" * 1000


def test_the_rest_of_a_file_is_given_as_long_as_it_is_the_same(driver: FsspecDriver, tmp_path: Path):
    (tmp_path / "object").write_bytes(b"0123456789")
    with driver.open(str(tmp_path / "object")) as stream:
        version = stream.version
    with driver.open_rest(str(tmp_path / "object"), 4, version) as rest:
        assert (rest.size, rest.read()) == (6, b"456789")
    (tmp_path / "object").write_bytes(b"another")

    with pytest.raises(NotFound):
        driver.open_rest(str(tmp_path / "object"), 4, version)


def test_what_breaks_while_it_is_read_quotes_no_secret(secrets, broken):
    class Reading:
        size = 10

        def read(self, size: int) -> bytes:
            raise RuntimeError("session of s3cr3t ended")

        def close(self) -> None:
            pass

    broken._open = lambda *_, **__: Reading()
    secrets.write("store", password="s3cr3t")
    driver = FsspecDriver({"options": {"password": {"secretKeyRef": {"name": "store", "key": "password"}}}}, secrets)
    with pytest.raises(Permanent) as caught:
        driver.open("broken://x").read(1)

    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
