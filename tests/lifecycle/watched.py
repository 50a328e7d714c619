"""A pod that something happens to, for the tests of spans and metrics; and its tree, to compare theirs with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.engine import Engine
from lifecycle.errors import Forbidden, Unavailable
from lifecycle.observing import observed
from lifecycle.pod import WAIT_TABLE
from tests.fakes import FakeContainer, Script, World
from tests.lifecycle.endings import make_world

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lifecycle.account import Account


def play(root: Path, environ: Mapping[str, str], **outcomes: list[object]) -> tuple[World, Account]:
    """A `wait` with a sidecar, a save that needs three attempts and a report that is refused."""
    world = make_world(root)
    world.runtime.containers["side"] = FakeContainer(world.clock)
    world.store.script = Script(save=[Unavailable("down"), Unavailable("down")])
    refused = Forbidden("patch is forbidden", remedy="grant it")
    world.control.script = Script(**({"report": [refused]} | outcomes))
    with observed(world.pod, environ) as seen:
        Engine(WAIT_TABLE, world.pod, observer=seen).run()
    return world, seen.account


def tree(account: Account) -> set[tuple[str, ...]]:
    """Every node as the way to it: pod, phase, item, attempt."""
    nodes: set[tuple[str, ...]] = {(account.table,)}
    for visit in account.visits:
        nodes.add((account.table, visit.phase))
        for thing in visit.things.values():
            nodes.add((account.table, visit.phase, thing.name))
            nodes |= {(account.table, visit.phase, thing.name, f"attempt {one.number}") for one in thing.attempts}
    return nodes
