"""The language of fault plans: what it says, what it refuses, and that it names every port's every call."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from lifecycle import errors, objects, ports
from lifecycle import files as files_port
from lifecycle.errors import Cancelled, InputError, LifecycleError, Permanent, Transient
from lifecycle.faults.chance import randomly
from lifecycle.faults.kinds import ERRORS, GIVES, KINDS, LISTS, TAKES
from lifecycle.faults.plan import ALWAYS, PORTS, Fault, Plan, parse, read

PROTOCOLS: dict[str, tuple[type, ...]] = {
    "runtime": (ports.Runtime, ports.RootHolder),
    "driver": (ports.Driver, ports.RangeDriver, ports.TreeDriver),
    "control": (ports.ControlPlane,),
    "sandbox": (ports.Sandbox,),
    "objects": (objects.Objects,),
    "files": (files_port.Files,),
}
MADE = {"runtime", "driver", "objects"}
"""Ports that the pod makes when it needs one."""
NOT_THE_PODS = {"sandbox": {"runtime", "close"}}
"""Calls of the local runner's own: the first is `runtime.make`, the second comes when the pod is over."""


def calls(protocol: type) -> set[str]:
    return {
        name
        for name, found in vars(protocol).items()
        if not name.startswith("_") and (inspect.isfunction(found) or isinstance(found, property))
    }


def test_a_plan_can_name_every_call_of_every_port_and_no_other():
    said = {
        name: set().union(*map(calls, protocols)) - NOT_THE_PODS.get(name, set())
        | ({"make"} if name in MADE else set())
        for name, protocols in PROTOCOLS.items()
    }

    assert {name: set(listed) for name, listed in PORTS.items()} == said
    every = set().union(*said.values())
    assert every >= GIVES | TAKES | LISTS


def test_every_protocol_of_the_ports_is_covered():
    declared = {
        found
        for module in (ports, objects)
        for found in vars(module).values()
        if inspect.isclass(found) and getattr(found, "_is_protocol", False) and found.__module__ == module.__name__
    }

    assert declared - {ports.RuntimeFactory, ports.DriverFactory} == set().union(*PROTOCOLS.values()) - {
        files_port.Files
    }


def test_a_plan_can_raise_every_class_that_an_adapter_may():
    def leaves(kind: type) -> set[type]:
        below = kind.__subclasses__()
        return {kind, *(leaf for one in below for leaf in leaves(one))} if below else {kind}

    kinds = {leaf.__name__ for leaf in leaves(LifecycleError) if leaf.__module__ == errors.__name__}
    abstract = {LifecycleError, Transient, Permanent, Cancelled, errors.Terminated, errors.DeadlineExceeded}

    assert set(ERRORS.values()) - {"OSError", "Injected"} == kinds - {one.__name__ for one in abstract}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("saving:driver.save(model):throttled×2", Fault("saving", "driver", "save", "throttled", "model", times=2)),
        ("driver.save#3:disk-full", Fault("*", "driver", "save", "disk-full", nth=3)),
        ("killing sidecars : runtime.signal:hang", Fault("killing sidecars", "runtime", "signal", "hang")),
        ("*:*.*:unavailablexalways", Fault("*", "*", "*", "unavailable", times=ALWAYS)),
        ("loading:driver.open:truncated=0.25", Fault("loading", "driver", "open", "truncated", argument=0.25)),
        ("waiting:runtime.wait:clock=-3600", Fault("waiting", "runtime", "wait", "clock", argument=-3600.0)),
        ("driver.list:broken=1", Fault("*", "driver", "list", "broken", argument=1.0)),
    ],
)
def test_a_line_is_a_fault_and_prints_itself(line: str, fault: Fault):
    assert parse([line]).faults == (fault,)
    assert parse([str(fault)]).faults == (fault,)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("saving", "'saving' is no fault"),
        ("baking:driver.save:throttled", "there is no phase 'baking'"),
        ("saving:store.save:throttled", "there is no port 'store'"),
        ("saving:driver.put:throttled", "driver has no call 'put'"),
        ("saving:driver.save:sad", "there is no fault 'sad'"),
        ("saving:driver.delete:truncated", "delete moves no bytes that could be truncated"),
        ("loading:driver.list:wrong", "list moves no bytes that could be wrong"),
        ("saving:driver.delete:disk-full=0.5", "delete moves no bytes that could be disk-full"),
        ("saving:driver.save#0:hang", "calls are counted from 1"),
        ("saving:driver.save:hang×0", "calls are counted from 1"),
        ("saving:driver.save:broken=2", "the share of a stream is a number from 0 to 1"),
        ("saving:driver.save:throttled=2", "throttled has no argument"),
        ("saving:driver.save:delay=-2", "a delay is no less than 0 s"),
        ("random:x", "'random:x' is no random plan"),
    ],
)
def test_a_line_that_is_no_fault_is_refused_by_name(line: str, said: str):
    with pytest.raises(InputError, match=r"^--fault") as caught:
        parse([line])

    assert said in str(caught.value)


def test_a_file_takes_lines_and_objects(tmp_path: Path):
    path = tmp_path / "plan.yaml"
    path.write_text(
        "faults:\n- saving:driver.save(model):throttled×2\n- random:7:2\n"
        "- {phase: loading, port: driver, call: open, kind: broken, argument: 0.9, times: always, item: 7}\n"
    )

    first, *chosen, last = read(path).faults

    assert str(first) == "saving:driver.save(model):throttled×2"
    assert tuple(chosen) == randomly(7, 2)
    assert last == Fault("loading", "driver", "open", "broken", "7", argument=0.9, times=ALWAYS)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("3", "a line or an object is needed"),
        ("{port: driver, call: save, kind: hang, when: now}", "unknown: when"),
        ("{port: driver, call: save}", "`port`, `call` and `kind` are needed"),
        ("{port: driver, call: save, kind: hang, nth: many}", "this is no fault"),
        ("{port: driver, call: save, kind: [hang]}", "there is no fault"),
        ("{port: driver, call: save, kind: hang, times: 0}", "calls are counted from 1"),
        ("nonsense", "'nonsense' is no fault"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_by_the_entry(tmp_path: Path, entry: str, said: str):
    path = tmp_path / "plan.yaml"
    path.write_text(f"faults: ['driver.save:hang', {entry}]\n")

    with pytest.raises(InputError) as caught:
        read(path)

    assert str(caught.value).startswith(f"{path}: $.faults[1]")
    assert said in str(caught.value)


def test_a_seed_is_always_the_same_plan_and_a_plan_prints_what_repeats_it():
    for seed in range(200):
        plan = parse([f"random:{seed}"])

        assert plan == parse([f"random:{seed}"])
        assert parse([str(fault) for fault in plan.faults]) == plan
        assert plan.faults
    assert len({parse([f"random:{seed}"]) for seed in range(200)}) > 190
    assert len(parse(["random:7:9"]).faults) == 9


def test_a_plan_is_flags_for_a_shell():
    plan = Plan((Fault("killing sidecars", "runtime", "signal", "hang"), Fault("*", "driver", "save", "kill")))

    assert plan.command() == "--fault 'killing sidecars:runtime.signal:hang' --fault '*:driver.save:kill'"


def test_the_page_names_every_call_and_every_fault():
    text = (Path(__file__).parents[2] / "docs/faults.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}

    for port, names in PORTS.items():
        assert rows[f"`{port}`"].split("|")[2].strip() == ", ".join(f"`{name}`" for name in names)
    assert not [kind for kind in KINDS if not any(f"`{kind}`" in place for place in rows)]
