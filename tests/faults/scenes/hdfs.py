"""HDFS: real clusters, proxies before the name node and the data node, and what their administrators do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drivers.hdfs import HdfsDriver
from tests.faults.stage import Scene, Stage, fault
from tests.servers.clusters import fresh
from tests.servers.proxy import Fault, Proxy

DATA = bytes(range(256)) * (12 << 12)  # 12 MiB: two blocks
_HERE = 3 << 20


class Place:
    """A new directory of the plain cluster, seen by its user and without any proxy."""

    def __init__(self, stage: Stage) -> None:
        self.cluster = stage.fixture("hadoop")
        self.config: dict[str, Any] = stage.fixture("plain_config")
        self.driver = HdfsDriver(self.config, stage.secrets)
        self.root = fresh()
        self.key = f"{self.root}/it"
        if stage.verb == "load":
            self.put(DATA)

    def put(self, data: bytes, key: str = "") -> None:
        self.driver.save(key or self.key, io.BytesIO(data), len(data))

    def get(self, key: str = "") -> bytes:
        with self.driver.open(key or self.key) as stream:
            return stream.read()

    def left(self) -> list[str]:
        found = self.driver._files.status(self.root)
        return [] if found is None else [one.path for one in self.driver._files.walk(self.root) if not one.directory]

    def scene(self, config: dict[str, Any], **fields: Any) -> Scene:
        left = (list) if "left" in fields else self.left
        location = {"hdfs": self.config | config | {"path": self.key}}
        return Scene(location, DATA, **({"left": left, "stored": self.get} | fields))


@fault("wrong keytab", "load", "save")
def wrong_keytab(stage: Stage) -> Iterator[Scene]:
    config = stage.fixture("keytab_config")
    yield Scene({"hdfs": config | {"path": "/open/it", "krbUsername": "mallory"}}, DATA)


@fault("no ticket", "load", "save")
def no_ticket(stage: Stage) -> Iterator[Scene]:
    config = stage.fixture("cache_config")
    stage.secrets.write("alice", ccache="these are not tickets")
    yield Scene({"hdfs": config | {"path": "/open/it"}}, DATA)


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    yield Scene({"hdfs": {"addresses": ["no-such-host.invalid:8020"], "hdfsUser": "alice", "path": "/open/it"}}, DATA)


@fault("unknown path", "load")
def unknown_path(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    place.driver.delete(place.key)
    yield place.scene({})


@fault("unknown path of an optional artifact", "load")
def unknown_path_optional(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    place.driver.delete(place.key)
    yield place.scene({}, optional=True)


@fault("permission denied", "load", "save")
def permission_denied(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    place.put(b"", f"{place.root}/there")
    place.cluster.shell("-chmod", "500", place.root)
    place.cluster.shell("-chown", "bob", place.root)
    yield place.scene({}, left=list)


@fault("a file is there and force is not set", "save")
def already_there(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    HdfsDriver(place.config | {"hdfsUser": "bob"}, stage.secrets).save(place.key, io.BytesIO(b"bob's"), None)
    yield place.scene({"force": False}, left=lambda: place.left() != [place.key] or place.get() != b"bob's")


@fault("disk full at the destination", "save")
def quota(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    place.put(b"", f"{place.root}/there")
    place.cluster.admin("-setSpaceQuota", "9m", place.root)  # one block of 8 MiB
    yield place.scene({}, left=lambda: place.left() != [f"{place.root}/there"])


@fault("disk full here", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    with stage.small_disk(4 << 20) as room:
        yield place.scene({}, room=room, left=list)


@fault("safe mode for a while", "save")
def safe_mode(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    place.cluster.admin("-safemode", "enter")
    try:
        yield place.scene({}, on_attempt=lambda _: place.cluster.admin("-safemode", "leave"))
    finally:
        place.cluster.admin("-safemode", "leave")


@fault("name node gone, then back", "load", "save")
def name_node_gone(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    with Proxy(place.cluster.rpc) as proxy:
        proxy.plan(Fault("refuse", times=1000))
        yield place.scene(
            {"addresses": [proxy.address]}, on_attempt=lambda number: proxy.plan() if number == 2 else None
        )
        assert proxy.met


@fault("a directory, and a dead name node in the list", "load", "save")
def dead_name_node(stage: Stage) -> Iterator[Scene]:
    place = Place(stage)
    files = {"a": b"a", "d/b": b"b" * 1000, "d/e/c": b""}
    place.driver.delete(place.key)
    if stage.verb == "load":
        for name, data in files.items():
            place.put(data, f"{place.key}/{name}")

    def stored() -> dict[str, bytes]:
        return {one.path: place.get(f"{place.key}/{one.path}") for one in place.driver.list(place.key)}

    with Proxy(place.cluster.rpc) as proxy:
        proxy.plan(Fault("refuse", times=1000))
        scene = place.scene({"addresses": [proxy.address, place.cluster.rpc]}, stored=stored)
        scene.content = files
        yield scene
        assert proxy.met


@fault("data node gone in mid-transfer", "load", "save")
def data_node_gone(stage: Stage) -> Iterator[Scene]:
    yield from _at_data_node(stage, Fault("cut", after=_HERE, upward=stage.verb == "save"), Fault("refuse", times=1000))


@fault("a truncated transfer", "load")
def truncated(stage: Stage) -> Iterator[Scene]:
    yield from _at_data_node(stage, Fault("end", after=_HERE), Fault("refuse", times=1000))


@fault("slow server", "load", "save")
def slow(stage: Stage) -> Iterator[Scene]:
    upward = stage.verb == "save"
    faults = Fault("silence", after=_HERE, upward=upward), Fault("silence", times=1000, upward=upward)
    yield from _at_data_node(stage, *faults, options={"read_timeout": 2.5})


@fault("one lost connection to a data node", "load")
def one_connection(stage: Stage) -> Iterator[Scene]:
    yield from _at_data_node(stage, Fault("cut", after=_HERE))


def _at_data_node(stage: Stage, *faults: Fault, **fields: Any) -> Iterator[Scene]:
    """The faults end with the first attempt that failed."""
    place = Place(stage)
    monkeypatch = stage.fixture("monkeypatch")
    directory = Path(stage.tmp_path) / "conf"
    directory.mkdir()
    with place.cluster.by_name(directory) as (proxy, environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        proxy.plan(*faults)
        yield place.scene({}, on_attempt=lambda _: proxy.plan(), **fields)
        assert proxy.met
