"""The port that a `resource` template needs: the objects of a cluster. It is as public as those of :mod:`~.ports`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lifecycle.clock import Cancel


@dataclass(frozen=True, slots=True)
class Change:
    """What is asked for one document of a manifest (spec 4.1.1).

    Attributes:
        action: ``get``, ``create``, ``apply``, ``replace``, ``patch`` or ``delete``.
        body: the document: an object, or the operations of a JSON patch; ``None`` where only a name is given.
        api_version, kind: of the object; a kind without a version is a name such as ``pod`` or ``deployments.apps``.
        name: the object's; empty where the server makes one of ``generateName``.
        namespace: empty for the pod's own.
        strategy: of a patch: ``strategic``, ``merge`` or ``json``.
        manager: who is said to own the fields.
        force: take fields over that somebody else owns.
        dry_run: judge it, and change nothing.
        validation: ``Strict``, ``Warn``, ``Ignore``; empty for the server's own.
        grace: seconds that a deleted object may take.
        propagation: of a deletion: ``Background``, ``Foreground``, ``Orphan``.
    """

    action: str
    body: Any = None
    api_version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    strategy: str = "strategic"
    manager: str = "argoexec"
    force: bool = False
    dry_run: bool = False
    validation: str = ""
    grace: int | None = None
    propagation: str = ""


class Objects(Protocol):
    """The objects of a cluster, for `resource` templates."""

    def perform(self, change: Change) -> dict[str, Any]:
        """Make the change; the object as the server has it now, or had it.

        Raises:
            InputError: there is no such kind.
            NotFound: there is no such object.
            Forbidden, Unauthorized, BadRequest: another attempt would end the same way.
            Transient: it may work.
        """

    def get(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """An object as it is now.

        Raises:
            NotFound: it is gone.
            LifecycleError: as ``perform``.
        """

    def follow(self, found: Mapping[str, Any], settled: Callable[[Mapping[str, Any]], bool], cancel: Cancel) -> None:
        """Show ``settled`` the object as it is and each change of it, until it says so.

        A server that is away is waited for.

        Raises:
            NotFound: it is gone.
            Cancelled: the token was set.
            Forbidden: it may not be watched.
        """
