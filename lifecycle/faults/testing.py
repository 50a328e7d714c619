"""For tests of your own driver or runtime: a fixture that makes the calls of any port go wrong.

::

    from lifecycle.faults.testing import faults

    def test_a_throttled_upload_is_said(faults):
        store = faults(MyDriver({...}, secrets), "driver.save(model):throttled×2", "driver.open:broken=0.9")
        ...

It needs pytest (``argoexec[testing]``), and is imported by tests alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import pytest

from lifecycle.clock import SystemClock
from lifecycle.errors import InputError
from lifecycle.faults.injection import Faults
from lifecycle.faults.plan import ANY, Plan, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.clock import Clock

T = TypeVar("T")

__all__ = ["Wrap", "faults"]


class Wrap(Protocol):
    """What the fixture gives."""

    def __call__(self, port: T, *lines: str, clock: Clock | None = None) -> T:
        """The port with the faults of a plan around it.

        Args:
            port: a driver, a runtime, a control plane, a sandbox, objects of a cluster, or files.
            lines: faults, as ``--fault`` takes them; all of one port. The phase may be left out.
            clock: delays go by it; the system's unless given.

        Raises:
            InputError: a line is no fault, or they are not of one port.
        """


@pytest.fixture
def faults() -> Iterator[Wrap]:
    """Wraps ports; at the end of the test each of the faults must have happened, or it has proved nothing."""
    made: list[Faults] = []

    def wrap(port: T, *lines: str, clock: Clock | None = None) -> T:
        plan = parse(lines, place="faults")
        names = {fault.port for fault in plan.faults}
        if len(names) != 1 or ANY in names:
            raise InputError(f"the faults of one port are needed, not of {', '.join(sorted(names)) or 'none'}")
        made.append(Faults(plan, clock or SystemClock()))
        return cast("T", made[-1].around(port, names.pop()))

    yield wrap
    missed = []
    for one in made:
        one.close()
        missed += [fault for fault in one.plan.faults if not one.happened[fault]]
    if missed:
        pytest.fail(f"did not happen: {Plan(tuple(missed)).command()}", pytrace=False)
