"""applying: each document of a manifest, in order; the first that fails ends it (spec 4.1.1)."""

from __future__ import annotations

import string
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lifecycle.errors import AlreadyExists, NotFound
from lifecycle.outcome import ItemState
from lifecycle.phases.staging import order_of
from lifecycle.stay import Task

if TYPE_CHECKING:
    import random

    from lifecycle.context import Pod
    from lifecycle.objects import Change, Objects
    from lifecycle.outcome import Item
    from lifecycle.stay import Stay

_SUFFIX = 5
"""Characters that the server would add to a ``generateName``."""
_LONGEST = 58
"""Characters of a ``generateName`` that the server keeps."""
# The server's alphabet: no vowels, so that no words come out of it.
_ALPHABET = "".join(sorted(set(string.ascii_lowercase) - set("aeioulm"))) + "2456789"


def apply(pod: Pod, stay: Stay) -> None:
    """Do what is asked for each document; what has been done stays done when a later one fails."""
    order = order_of(pod)
    for number, change in enumerate(order.changes if order else ()):
        begun = pod.known.begun(number)  # by a process that was killed before it heard the answer, or after
        named = _named(change, pod.rng, begun)
        item = stay.item("object", shown(named))
        work = partial(_perform, pod, stay, item, named, again=bool(begun))
        pod.keep_name(number, named.name or shown(named))
        stay.perform(Task(item, work, ItemState.DONE))
        if item.state is not ItemState.DONE:
            return
    pod.found.ran = True


def _perform(pod: Pod, stay: Stay, item: Item, change: Change, *, again: bool) -> None:
    order, objects = pod.found.order, pod.cluster
    try:
        found = objects.perform(change)
    except AlreadyExists:
        if not item.attempts and not again:
            raise
        found = objects.perform(replace(change, action="get"))
        item.note = "it is there: the answer to an earlier attempt was lost"
    except NotFound as error:
        if order is None or not order.forgives:
            raise
        item.note = f"it is not there: {error}"
        return
    if change.action != "delete":
        pod.found.objects.append(found)
    elif order is not None and order.waits and not change.dry_run:
        _await_end(objects, found, stay)


def shown(change: Change) -> str:
    """An object by kind and name, for people."""
    return f"{change.kind}/{change.name}"


def _named(change: Change, rng: random.Random, begun: str) -> Change:
    """With a name of ours where the server would make one: then a request whose answer was lost can be sent again."""
    if change.action != "create" or change.name:
        return change
    prefix = str(change.body["metadata"]["generateName"])[:_LONGEST]
    name = begun or prefix + "".join(rng.choices(_ALPHABET, k=_SUFFIX))
    body: dict[str, Any] = change.body | {"metadata": change.body["metadata"] | {"name": name}}
    return replace(change, body=body, name=name)


def _await_end(objects: Objects, found: dict[str, Any], stay: Stay) -> None:
    if found.get("kind") == "Status" or not found.get("metadata"):
        return  # the server has deleted it at once, and says no more
    uid = found["metadata"].get("uid")

    def replaced(state: Any) -> bool:
        return bool(state["metadata"].get("uid") != uid)  # somebody has made another of that name

    try:
        objects.follow(found, replaced, stay.cancel)
    except NotFound:
        return
