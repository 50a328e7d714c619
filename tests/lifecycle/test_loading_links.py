"""Loading into a volume whose links are the user's: they lead where they lead in main, and never out of the mirror."""

import io
import os
import tarfile
import threading

import pytest

from lifecycle.archive.staging import staged
from lifecycle.engine import Engine
from lifecycle.errors import BadRequest, CorruptData
from lifecycle.files import HostMount, LocalFiles
from lifecycle.phases.loading import set_mode
from lifecycle.pod import INIT_TABLE
from lifecycle.table import Verdict
from tests.fakes import World


def tar(**members):
    """A tar of files (bytes), directories (None) and links (str); ``__`` in a name is a slash."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return raw.getvalue()


def world_of(tmp_path, *artifacts, mounts=("/vol",), parallelism=1):
    """A pod whose artifacts are (name, path, bytes, other fields)."""
    raw = {
        "name": "t",
        "container": {"image": "i", "volumeMounts": [{"name": f"v{n}", "mountPath": m} for n, m in enumerate(mounts)]},
        "inputs": {
            "artifacts": [
                {"name": name, "path": path, "s3": {"bucket": "b", "key": name}} | (more[0] if more else {})
                for name, path, _, *more in artifacts
            ]
        },
    }
    world = World(tmp_path, raw, parallelism=parallelism)
    world.store.objects = {name: data for name, _, data, *_ in artifacts if data is not None}
    for mount in mounts:
        (tmp_path / f"mainctrfs{mount}").mkdir(parents=True, exist_ok=True)
    return world


def load(world):
    return Engine(INIT_TABLE, world.pod).run()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def victim(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    return victim


@pytest.fixture
def vol(tmp_path):
    vol = tmp_path / "mainctrfs/vol"
    vol.mkdir(parents=True)
    return vol


@pytest.mark.parametrize("climb", [False, True])
def test_a_link_that_an_earlier_artifact_made_does_not_lead_out(tmp_path, victim, climb):
    target = "../" * 20 + str(victim).lstrip("/") if climb else str(victim)
    world = world_of(
        tmp_path,
        ("one", "/vol/a", tar(d__link=target, d__file=b"1")),
        ("two", "/vol/a/link/pwned", b"pwned", {"optional": True}),
    )
    assert load(world) is Verdict.FAILED  # and not forgiven by `optional`
    assert list(victim.iterdir()) == []
    assert (tmp_path / "mainctrfs/vol/a/file").read_bytes() == b"1"
    assert "/vol/a/link is a link that leads nowhere in main's volumes" in world.pod.record.message()


def test_nor_do_many_at_a_time(tmp_path, victim):
    """Links and what is to go through them, all at once: each is loaded inside or fails, nothing comes outside."""
    artifacts = []
    for n in range(24):
        artifacts.append((f"tar{n}", f"/vol/a{n}", tar(d__link=str(victim), d__x=b"1")))
        artifacts.append((f"raw{n}", f"/vol/a{n}/link/deep/pwned", b"pwned", {"mode": 0o600}))
    before = descriptors()
    load(world_of(tmp_path, *artifacts, parallelism=8))
    assert list(victim.iterdir()) == []
    assert descriptors() == before


def test_a_parent_that_is_replaced_by_a_link_in_mid_load_leads_nowhere_else(tmp_path, vol, victim):
    world = world_of(tmp_path, ("one", "/vol/a/pwned", b"1", {"mode": 0o600}))
    real = world.store.open

    def swap(key):
        (vol / "a").rename(vol / "moved")
        (vol / "a").symlink_to(victim)
        return real(key)

    world.store.open = swap
    assert load(world) is Verdict.SUCCEEDED
    assert list(victim.iterdir()) == []
    assert (vol / "moved/pwned").read_bytes() == b"1"


@pytest.mark.parametrize(
    "links",
    [
        {"link": "real"},
        {"link": "/vol/real"},
        {"link": "../vol/real"},
        {"link": "../../../../vol/real"},
        {"link": "two", "two": "/other/three", "../other/three": "/vol/real"},
    ],
)
def test_links_that_stay_inside_lead_where_they_lead_in_main(tmp_path, vol, links):
    world = world_of(tmp_path, ("one", "/vol/link/new/file", b"1", {"mode": 0o640}), mounts=("/vol", "/other"))
    (vol / "real").mkdir()
    for name, target in links.items():
        (vol / name).symlink_to(target)

    assert load(world) is Verdict.SUCCEEDED, world.pod.record.message()
    assert (vol / "real/new/file").read_bytes() == b"1"
    assert (vol / "real/new/file").stat().st_mode & 0o777 == 0o640
    assert (vol / "real/new").stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in (vol / "real/new").iterdir()) == ["file"]


@pytest.mark.parametrize("content", [b"raw", tar(d__x=b"1"), None])
def test_a_link_in_the_last_place_is_replaced(tmp_path, vol, victim, content):
    (victim / "kept").write_bytes(b"kept")
    (vol / "out").symlink_to(victim)
    world = world_of(tmp_path, ("one", "/vol/out", content, {"mode": 0o700, "recurseMode": True}))
    if content is None:
        world.store.objects = {"one/x": b"1"}

    assert load(world) is Verdict.SUCCEEDED
    assert not (vol / "out").is_symlink()
    assert (vol / "out").is_dir() == (content != b"raw")
    assert [p.name for p in victim.iterdir()] == ["kept"]
    assert victim.stat().st_mode & 0o777 != 0o700


def test_missing_parents_are_made_whatever_the_umask(tmp_path, vol):
    before = os.umask(0o077)
    try:
        assert load(world_of(tmp_path, ("one", "/vol/a/b/c/file", b"1"))) is Verdict.SUCCEEDED
    finally:
        os.umask(before)
    assert [(vol / one).stat().st_mode & 0o777 for one in ("a", "a/b", "a/b/c", "a/b/c/file")] == [0o755] * 3 + [0o644]


def test_and_go_again_when_nothing_comes(tmp_path, vol):
    before = descriptors()
    world = world_of(tmp_path, ("gone", "/vol/a/b/c/file", None, {"optional": True}))
    assert load(world) is Verdict.SUCCEEDED
    assert list(vol.iterdir()) == []
    assert descriptors() == before


def test_but_not_while_another_artifact_is_on_its_way_into_them(tmp_path, vol):
    world = world_of(
        tmp_path, ("gone", "/vol/a/b/one", None, {"optional": True}), ("here", "/vol/a/b/two", b"2"), parallelism=2
    )
    entered = threading.Barrier(2)
    real = world.store.open
    failed = threading.Event()

    def open_both(key):
        entered.wait(10)
        if key == "here":
            failed.wait(0.2)
        return real(key)

    world.store.open = open_both
    assert load(world) is Verdict.SUCCEEDED, world.pod.record.message()
    assert (vol / "a/b/two").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda a: a.write_bytes(b""), "/vol/a is not a directory"),
        (lambda a: a.symlink_to("gone"), "/vol/a is a link that leads nowhere"),
        (lambda a: a.symlink_to("a"), "/vol/a is a link in a circle"),
    ],
)
def test_a_parent_that_cannot_be_one_is_named(tmp_path, vol, make, named):
    make(vol / "a")
    world = world_of(tmp_path, ("one", "/vol/a/b/file", b"1", {"optional": True}))
    assert load(world) is Verdict.FAILED
    [failure] = world.pod.record.failures
    assert named in str(failure)
    assert failure.code == "ERR_BAD_REQUEST"
    assert sorted(p.name for p in vol.iterdir()) == ["a"]


def test_errors_name_mains_path(tmp_path, vol):
    (vol / "dir/x").mkdir(parents=True)
    world = world_of(tmp_path, ("one", "/vol/dir", b"a file"))
    assert load(world) is Verdict.FAILED
    assert "'/vol/dir'" in world.pod.record.message()
    assert "/proc/" not in str(world.journal.lines)


def test_so_do_those_of_the_system_and_what_led_to_them(tmp_path, vol):
    world = world_of(tmp_path, ("one", "/vol/x", b""))
    mirrored = world.files.mirrored("/vol/x")
    with pytest.raises(OSError, match="/vol/x/below") as raised, mirrored.opened("/vol/x") as dest:
        (dest / "below").read_bytes()
    assert "/proc/" not in str(raised.value)

    def fail():
        with mirrored.opened("/vol/x") as dest, staged(dest) as stage:
            (stage / "a").rename(dest / "b/c")

    with pytest.raises(Exception, match=r"/vol/\.x\.argoexec-") as raised:
        fail()
    error = raised.value
    while error is not None:
        assert "/proc/" not in str(error) + str(getattr(error, "filename2", "")) + repr(error.args)
        error = error.__cause__


def test_a_failure_of_ours_keeps_its_kind(tmp_path):
    mirrored = world_of(tmp_path).files.mirrored("/vol/x")
    with pytest.raises(CorruptData, match=r"^/vol/x is broken$") as raised, mirrored.opened("/vol/x") as dest:
        raise CorruptData(f"{dest} is broken", remedy=f"look at {dest.parent}")
    assert raised.value.message == "/vol/x is broken"
    assert raised.value.remedy == "look at /vol/"


def test_the_mode_of_all_below_follows_no_link(tmp_path, vol, victim):
    secret = victim / "secret"
    secret.write_bytes(b"")
    secret.chmod(0o600)
    victim.chmod(0o711)
    content = tar(d=None, d__sub=None, d__sub__f=b"1", d__file=str(secret), d__dir=str(victim), d__sub__up="..")
    world = world_of(tmp_path, ("one", "/vol/d", content, {"mode": 0o750, "recurseMode": True}))

    assert load(world) is Verdict.SUCCEEDED
    assert {(vol / one).stat().st_mode & 0o777 for one in ("d", "d/sub", "d/sub/f")} == {0o750}
    assert (secret.stat().st_mode & 0o777, victim.stat().st_mode & 0o777) == (0o600, 0o711)


def test_a_mode_that_shuts_out_comes_last_and_depth_is_no_matter(tmp_path):
    top = tmp_path / "top"
    deep = top.joinpath(*"d" * 200)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (top / "closed").mkdir(mode=0o000)
    set_mode(top, 0o400, recurse=True)
    assert top.stat().st_mode & 0o777 == 0o400
    if os.geteuid() == 0:
        assert (deep / "file").stat().st_mode & 0o777 == (top / "closed").stat().st_mode & 0o777 == 0o400
        set_mode(top, 0o755, recurse=True)
    else:
        top.chmod(0o700)


# --- a pod laid out on this machine ---------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path):
    """The files of a pod with a volume at /vol, its directory ``sub`` at /sub, and a file of this machine's at /f."""
    data = tmp_path / "pod/volumes/data"
    (data / "sub").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"old")
    mounts = {"/vol": data, "/sub": data / "sub", "/f": tmp_path / "file"}
    return LocalFiles(tmp_path / "pod", [HostMount(*one) for one in mounts.items()])


@pytest.mark.parametrize("path", ["/vol/link/pwned", "/sub/pwned", "/sub/deep/pwned"])
def test_locally_no_link_leads_out_of_a_volume_either(tmp_path, local, victim, path):
    data = local.volumes / "data"
    (data / "link").symlink_to(victim)
    (data / "sub").rmdir()
    (data / "sub").symlink_to(victim)
    with pytest.raises(BadRequest, match="leads nowhere in main's volumes"), local.mirrored(path).opened(path):
        pytest.fail("was opened")
    assert list(victim.iterdir()) == []


def test_locally_every_place_is_found(tmp_path, local):
    data = local.volumes / "data"
    (data / "link").symlink_to("/sub")  # inside the volume
    places = {"/vol": data, "/sub": data / "sub", "/vol/link/x": data / "sub/x", "/sub/n/y": data / "sub/n/y"}
    for path, place in (places | {"/f": tmp_path / "file"}).items():
        with local.mirrored(path).opened(path) as dest:
            assert dest.parent.resolve() / dest.name == place
