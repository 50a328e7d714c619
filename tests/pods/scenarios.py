"""Scenarios in which everything goes well: inputs, scripts, outputs of every kind and place."""

from __future__ import annotations

from typing import Any

from tests.pods.case import BOTH, MOUNT, VOLUME, Case, Entry, Expected, Json, Scenario, shell
from tests.pods.layout import CONTRACTS, RUNTIMES, Side
from tests.pods.play import GO, Play
from tests.servers.dockerd import BUSYBOX

# --- hello world ------------------------------------------------------------------------------------------------------


def _hello(case: Case) -> Json:
    return {
        "name": "hello",
        "container": shell("echo hello world"),
        "archiveLocation": {"archiveLogs": True, "s3": case.home},
    }


def _hello_expected(case: Case) -> Expected:
    logs = case.reported("main-logs", "", "main.log")
    return Expected(outputs={"artifacts": [logs]}, objects={"main.log": b"hello world\n"})


# --- scripts ----------------------------------------------------------------------------------------------------------


def _script(source: str) -> Json:
    return {"name": "script", "script": {"image": BUSYBOX, "command": ["sh"], "source": source}}


def _streams_expected(case: Case) -> Expected:
    """Only docker tells the two streams apart (spec 2.1)."""
    if case.runtime == "docker":
        return Expected(init=0, outputs={"result": "out"})

    def merged(seen: Any) -> None:
        assert sorted(seen.outputs["result"].splitlines()) == ["err", "out"]

    return Expected(init=0, outputs={"result": ...}, also=merged)


LINES, LINE = 10_240, 30
"""300 KiB: more than the 256 KiB that a result may have (spec 5.4), and more than all annotations of a pod."""
_UNTIL_GO = f"until [ -e {GO} ]; do usleep 20000; done\n"
"""Main lives long enough for anybody to take hold of it: what pns can lose is another test's business."""
_LONG = f"i=0; while [ $i -lt {LINES} ]; do printf '%0{LINE - 1}d\\n' $i; i=$((i+1)); done; {_UNTIL_GO}"
"""It ends when all has been read: containerd 1.6 may lose what is written in the moment of the end."""


def _long_written(play: Play) -> None:
    play.await_line(f"{LINES - 1:0{LINE - 1}}")
    play.let_go()


def _long_expected(case: Case) -> Expected:
    whole = "".join(f"{n:0{LINE - 1}}\n" for n in range(LINES)).removesuffix("\n")

    def is_the_end(seen: Any) -> None:
        result = seen.outputs["result"]
        assert whole.endswith(result)
        # Of the 256 KiB that a pod's annotations have, this one leaves little to the others.
        assert 200 * 1024 < len(result) <= 256 * 1024
        if case.contract == "v3.3":
            assert len(result) >= 256 * 1024 - 1

    return Expected(init=0, outputs={"result": ...}, also=is_the_end)


# --- inputs -----------------------------------------------------------------------------------------------------------

_LOOK = """
cat /in/raw; echo
cat /in/page.txt
/in/run.sh
cd /in/tree && find . | sort
readlink sub/link
stat -c '%a %n' sub sub/tool
cat sub/tool
ls -A /in/absent
"""


def _inputs(case: Case) -> Json:
    artifacts = [
        {"name": "raw", "path": "/in/raw", "raw": {"data": "raw data"}},
        {"name": "page", "path": "/in/page.txt", "http": {"url": f"{case.stage.http}/page.txt"}},
        {"name": "run", "path": "/in/run.sh", "mode": 0o755, "s3": case.home | {"key": "inputs/run.sh"}},
        {"name": "tree", "path": "/in/tree", "s3": case.home | {"key": "inputs/tree.tgz"}},
        {"name": "absent", "path": "/in/absent", "optional": True},
    ]
    return _script(_LOOK) | {"inputs": {"artifacts": artifacts}, "archiveLocation": {"s3": case.home}}


INPUTS: dict[str, bytes | list[Entry]] = {
    "run.sh": b"#!/bin/sh\necho it runs\n",
    "tree.tgz": [
        ("tree", "directory", 0o755, ""),
        ("tree/sub", "directory", 0o711, ""),
        ("tree/sub/link", "link", 0o777, "tool"),
        ("tree/sub/tool", "file", 0o750, "a tool\n"),
    ],
}
"""Objects that are in the store before, below ``inputs/``; a list becomes a tar.gz."""
PAGE = b"a page\n"
"""What the web server has as ``page.txt``."""

_LOOKED = """raw data
a page
it runs
.
./sub
./sub/link
./sub/tool
tool
711 sub
750 sub/tool
a tool"""


def _into_volume(case: Case) -> Json:
    return {
        "name": "into-volume",
        "inputs": {"artifacts": [{"name": "data", "path": "/work/deep/data", "mode": 0o640, "raw": {"data": "data"}}]},
        "outputs": {"parameters": [{"name": "seen", "valueFrom": {"path": "/work/seen"}}]},
        "container": shell("stat -c %a /work/deep/data > /work/seen; cat /work/deep/data >> /work/seen")
        | {"volumeMounts": [MOUNT]},
        "volumes": [VOLUME],
    }


# --- outputs ----------------------------------------------------------------------------------------------------------

_WRITE = """
mkdir -p /work/tree/sub /work/folder/sub
printf 'one line\\n\\n' > /work/parameter
echo tool > /work/tree/sub/tool
ln -s sub/tool /work/tree/link
chmod 750 /work/tree/sub/tool
chmod 711 /work/tree/sub
chmod 755 /work/tree
echo single > /work/single
chmod 640 /work/single
: > /work/empty
echo page > /work/page.html
echo 1 > /work/folder/1
echo 2 > /work/folder/sub/2
chmod 755 /work/folder /work/folder/sub
"""
_TREE: list[Entry] = [
    ("tree", "directory", 0o755, ""),
    ("tree/link", "link", 0o777, "sub/tool"),
    ("tree/sub", "directory", 0o711, ""),
    ("tree/sub/tool", "file", 0o750, "tool\n"),
]


def _outputs(case: Case, **container: Any) -> Json:
    none: Json = {"archive": {"none": {}}}
    artifacts = [
        {"name": "tree", "path": "/work/tree"},
        {"name": "single", "path": "/work/single", "archive": {"tar": {}}},
        {"name": "empty", "path": "/work/empty"},
        {"name": "page", "path": "/work/page.html"} | none,
        {"name": "folder", "path": "/work/folder"} | none,
        {"name": "keyed", "path": "/work/single", "s3": case.home | {"key": case.key("of/its/own.tgz")}},
    ]
    return {
        "name": "outputs",
        "container": shell(_WRITE, **container),
        "outputs": {
            "parameters": [{"name": "p", "valueFrom": {"path": "/work/parameter"}}],
            "artifacts": artifacts,
        },
        "archiveLocation": {"s3": case.home},
    }


def _in_base_layer(case: Case) -> Json:
    template = _outputs(case)
    template["container"]["command"][-1] = _UNTIL_GO + _WRITE
    return template


def _in_volume(case: Case) -> Json:
    return _outputs(case, volumeMounts=[MOUNT]) | {"volumes": [VOLUME]}


def _by_somebody(case: Case) -> Json:
    """Main has another user than ``wait``, and leaves what only its user may read."""
    somebody = {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}
    template = _outputs(case, **somebody)
    source = _WRITE.replace("/work", "/tmp/work")  # the root directory is not its own
    template["container"]["command"][-1] = f"umask 077\n{_UNTIL_GO}{source}"
    template["outputs"]["parameters"][0]["valueFrom"]["path"] = "/tmp/work/parameter"
    for artifact in template["outputs"]["artifacts"]:
        artifact["path"] = f"/tmp{artifact['path']}"
    return template


def _outputs_expected(case: Case, root: str = "/work") -> Expected:
    none: Json = {"archive": {"none": {}}}
    single = ("single", "file", 0o640, "single\n")
    artifacts = [
        case.reported("tree", f"{root}/tree", "tree.tgz"),
        case.reported("single", f"{root}/single", "single.tgz", archive={"tar": {}}),
        case.reported("empty", f"{root}/empty", "empty.tgz"),
        case.reported("page", f"{root}/page.html", "page.html", **none),
        case.reported("folder", f"{root}/folder", "folder", **none),
        case.reported("keyed", f"{root}/single", "of/its/own.tgz"),
    ]
    parameter = {"name": "p", "value": "one line\n", "valueFrom": {"path": f"{root}/parameter"}}
    return Expected(
        outputs={"parameters": [parameter], "artifacts": artifacts},
        objects={
            "tree.tgz": _TREE,
            "single.tgz": [single],
            "empty.tgz": [("empty", "file", 0o600 if root != "/work" else 0o644, "")],
            "page.html": b"page\n",
            "folder/1": b"1\n",
            "folder/sub/2": b"2\n",
            "of/its/own.tgz": [single],
        },
    )


def _absent(case: Case) -> Json:
    return {
        "name": "absent",
        "container": shell("true", volumeMounts=[MOUNT]),
        "volumes": [VOLUME],
        "outputs": {
            "parameters": [{"name": "p", "valueFrom": {"path": "/work/absent", "default": "a default"}}],
            "artifacts": [{"name": "a", "path": "/work/absent", "optional": True}],
        },
        "archiveLocation": {"s3": case.home},
    }


def _absent_expected(case: Case) -> Expected:
    value_from = {"path": "/work/absent", "default": "a default"}
    return Expected(outputs={"parameters": [{"name": "p", "value": "a default", "valueFrom": value_from}]})


def _failing(case: Case) -> Json:
    return {
        "name": "failing",
        "container": shell("echo value > /work/p; exit 3", volumeMounts=[MOUNT]),
        "volumes": [VOLUME],
        "outputs": {
            "parameters": [{"name": "p", "valueFrom": {"path": "/work/p"}}],
            "artifacts": [{"name": "a", "path": "/work/absent"}],
        },
        "archiveLocation": {"s3": case.home},
    }


def parameter(value: str, path: str = "/work/p") -> Json:
    """The Outputs of a template whose only output is the parameter ``p``."""
    return {"parameters": [{"name": "p", "value": value, "valueFrom": {"path": path}}]}


# --- two releases in one pod ------------------------------------------------------------------------------------------


def _mixed(case: Case) -> Json:
    artifact = {"name": "in", "path": "/in/tree", "s3": case.home | {"key": "inputs/tree.tgz"}}
    return {
        "name": "mixed",
        "inputs": {"artifacts": [artifact]},
        "container": shell("cat /in/tree/sub/link > /work/p; cp -a /in/tree /work/tree", volumeMounts=[MOUNT]),
        "volumes": [VOLUME],
        "outputs": {
            "parameters": [{"name": "p", "valueFrom": {"path": "/work/p"}}],
            "artifacts": [{"name": "tree", "path": "/work/tree"}],
        },
        "archiveLocation": {"s3": case.home},
    }


def _another(case: Case) -> Json:
    """`init` is of another release and has another runtime than `wait`."""
    contract = CONTRACTS[(CONTRACTS.index(case.contract) + 1) % len(CONTRACTS)]
    runtime = RUNTIMES[(RUNTIMES.index(case.runtime) + 1) % len(RUNTIMES)]
    return {"init": Side(contract, runtime)}


def _mixed_expected(case: Case) -> Expected:
    """The same whoever is who; only where it went is told in full to those who must be told."""
    outputs = parameter("a tool") | {"artifacts": [case.reported("tree", "/work/tree", "tree.tgz")]}
    return Expected(init=0, outputs=outputs, objects={"tree.tgz": INPUTS["tree.tgz"]})


# --- a main of a few milliseconds -------------------------------------------------------------------------------------

LOST = "lost"
"""What is reported of a base layer that was gone before anybody could take hold of it."""


def _quick(case: Case) -> Json:
    kept, risked = {"path": "/work/p"}, {"path": "/p", "default": LOST}
    return {
        "name": "quick",
        "container": shell("echo x > /work/p; echo x > /p", volumeMounts=[MOUNT]),
        "volumes": [VOLUME],
        "outputs": {"parameters": [{"name": "p", "valueFrom": kept}, {"name": "risked", "valueFrom": risked}]},
    }


QUICK = Scenario("quick", _quick, lambda _: Expected(outputs=...), runtimes=("pns",), contracts=("v3.3",))
"""Run as often as one likes, not once: how often it is lost is a matter of counting."""

SCENARIOS = (
    Scenario("hello", _hello, _hello_expected, every_contract=True),
    Scenario(
        "script",
        lambda _: _script("echo from the script\necho\n"),
        lambda _: Expected(init=0, outputs={"result": "from the script\n"}),
        captures=True,
    ),
    Scenario("streams", lambda _: _script("echo out; echo err >&2"), _streams_expected, captures=True),
    Scenario("long-result", lambda _: _script(_LONG), _long_expected, _long_written, captures=True),
    Scenario(
        "inputs", _inputs, lambda _: Expected(init=0, outputs={"result": _LOOKED}), captures=True
    ),
    Scenario("into-volume", _into_volume, lambda _: Expected(init=0, outputs={
        "parameters": [{"name": "seen", "value": "640\ndata", "valueFrom": {"path": "/work/seen"}}]
    })),
    Scenario("outputs-in-volume", _in_volume, _outputs_expected, every_contract=True),
    Scenario("outputs-in-base-layer", _in_base_layer, _outputs_expected, Play.let_go, runtimes=BOTH),
    Scenario(
        "outputs-of-another-user",
        _by_somebody,
        lambda case: _outputs_expected(case, "/tmp/work"),
        Play.let_go,
        runtimes=BOTH,
    ),
    Scenario("mixed", _mixed, _mixed_expected, options=_another),
    Scenario("absent-outputs", _absent, _absent_expected),
    Scenario("failing-main", _failing, lambda _: Expected(main=3, outputs=parameter("value"))),
)  # fmt: skip
