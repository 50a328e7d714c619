"""``flags`` of a `resource` template: those of kubectl that mean something without kubectl (spec 4.2, v2.8).

What has no meaning here is refused by name, never dropped: somebody relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.objects import Change

_PROPAGATION: Final = {
    "background": "Background", "true": "Background", "foreground": "Foreground", "orphan": "Orphan", "false": "Orphan",
}  # fmt: skip
_VALIDATION: Final = {"true": "Strict", "strict": "Strict", "warn": "Warn", "false": "Ignore", "ignore": "Ignore"}
_DRY_RUN: Final = {"client": True, "server": True, "none": False}
_ALIASES: Final = {"-n": "--namespace", "-R": "--recursive", "-l": "--selector", "-o": "--output", "-f": "--filename"}
_WITHOUT_VALUE: Final = {"--validate": "true", "--dry-run": "server"}
_SWITCHES: Final = frozenset({
    "--force", "--force-conflicts", "--server-side", "--ignore-not-found", "--now", "--wait", "--save-config",
    "--record", "--overwrite", "--allow-missing-template-keys",
})  # fmt: skip
_NEEDLESS: Final = frozenset(
    {"--server-side", "--save-config", "--record", "--overwrite", "--allow-missing-template-keys"}
)
"""Switches that change nothing here: every apply is the server's, and nobody reads the client's annotations."""


@dataclass(slots=True)
class Flags:
    """What the flags of one template say.

    Attributes:
        strategy: of a patch, when ``--type`` names one.
        waits: whether a deletion is waited for.
        forgives: ``--ignore-not-found``.
        notes: what a person should know.
    """

    strategy: str = ""
    waits: bool = True
    forgives: bool = False
    notes: tuple[str, ...] = ()
    _changes: dict[str, object] = field(default_factory=dict)

    def change(self, bare: Change) -> Change:
        """A change with what the flags say of it."""
        return replace(bare, **self._changes)  # type: ignore[arg-type] # its fields, by name

    def put(self, **fields: object) -> None:
        """Say something of the change."""
        self._changes |= fields


def read(words: object, action: str) -> Flags:
    """The flags of a template.

    Raises:
        InputError: one that is not known, has no meaning for the action, or a value that is none of its.
    """
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError("an array of texts is needed", place="$.resource.flags")
    flags = Flags()
    names: list[str] = []
    rest = list(enumerate(words))
    while rest:
        number, word = rest.pop(0)
        place = f"$.resource.flags[{number}]"
        if not word.startswith("-"):
            names.append(word)
            continue
        name, equals, value = word.partition("=")
        name = _ALIASES.get(name, name)
        if not equals and name in _WITHOUT_VALUE:
            value = _WITHOUT_VALUE[name]
        elif not equals and name in _SWITCHES:
            value = "true"
        elif not equals and name in _KNOWN:
            if not rest:
                raise InputError(f"{name} needs a value", place=place)
            value = rest.pop(0)[1]
        if name not in _KNOWN:
            raise InputError(
                f"the flag {name} has no meaning here", place=place,
                remedy=f"these have: {', '.join(sorted(_KNOWN))}",
            )  # fmt: skip
        _KNOWN[name](flags, value, action, place)
    _name(flags, names)
    return flags


def _name(flags: Flags, names: list[str]) -> None:
    """``TYPE NAME`` or ``TYPE/NAME``."""
    if not names:
        return
    kind, slash, name = names[0].partition("/")
    given = names[1:] if not slash else [name, *names[1:]]
    if len(given) != 1 or not kind or not given[0] or "/" in given[0] or "," in kind:
        raise InputError(
            f"{' '.join(names)!r} names no object",
            place="$.resource.flags",
            remedy="one TYPE and one NAME, or TYPE/NAME",
        )
    flags.put(kind=kind, name=given[0])


def _bool(value: str, place: str) -> bool:
    if value not in {"true", "false"}:
        raise InputError(f"true or false is needed, not {value!r}", place=place)
    return value == "true"


def _one_of(choices: dict[str, object], value: str, place: str) -> object:
    if value not in choices:
        raise InputError(f"one of {', '.join(choices)} is needed, not {value!r}", place=place)
    return choices[value]


def _only(action: str, wanted: str, name: str, place: str) -> None:
    if action != wanted:
        raise InputError(f"{name} is for {wanted}, not for {action}", place=place)


def _namespace(flags: Flags, value: str, _: str, __: str) -> None:
    flags.put(namespace=value)


def _manager(flags: Flags, value: str, _: str, __: str) -> None:
    flags.put(manager=value)


def _dry_run(flags: Flags, value: str, _: str, place: str) -> None:
    flags.put(dry_run=_one_of(dict(_DRY_RUN), value, place))


def _validate(flags: Flags, value: str, _: str, place: str) -> None:
    flags.put(validation=_one_of(dict(_VALIDATION), value, place))


def _force(flags: Flags, value: str, action: str, place: str) -> None:
    if not _bool(value, place):
        return
    if action != "delete":
        raise InputError(
            f"--force of {action} deletes the object and creates it anew", place=place,
            remedy="--force-conflicts takes fields over; or delete it in a step of its own",
        )  # fmt: skip
    flags.put(grace=0)


def _force_conflicts(flags: Flags, value: str, action: str, place: str) -> None:
    _only(action, "apply", "--force-conflicts", place)
    flags.put(force=_bool(value, place))


def _grace(flags: Flags, value: str, action: str, place: str) -> None:
    _only(action, "delete", "--grace-period", place)
    if not value.lstrip("-").isdigit():
        raise InputError(f"a number of seconds is needed, not {value!r}", place=place)
    flags.put(grace=int(value) if int(value) >= 0 else None)


def _now(flags: Flags, value: str, action: str, place: str) -> None:
    _only(action, "delete", "--now", place)
    if _bool(value, place):
        flags.put(grace=1)


def _cascade(flags: Flags, value: str, action: str, place: str) -> None:
    _only(action, "delete", "--cascade", place)
    flags.put(propagation=_one_of(dict(_PROPAGATION), value, place))


def _wait(flags: Flags, value: str, action: str, place: str) -> None:
    _only(action, "delete", "--wait", place)
    flags.waits = _bool(value, place)


def _forgive(flags: Flags, value: str, action: str, place: str) -> None:
    if action not in {"get", "delete"}:
        raise InputError(f"--ignore-not-found is for get and delete, not for {action}", place=place)
    flags.forgives = _bool(value, place)


def _type(flags: Flags, value: str, action: str, place: str) -> None:
    _only(action, "patch", "--type", place)
    flags.strategy = value


def _needless(flags: Flags, value: str, _: str, place: str) -> None:
    _bool(value, place)
    flags.notes = (*flags.notes, f"{place}: it changes nothing here: every apply is the server's")


_KNOWN: Final[dict[str, Callable[[Flags, str, str, str], None]]] = {
    "--namespace": _namespace,
    "--field-manager": _manager,
    "--dry-run": _dry_run,
    "--validate": _validate,
    "--force": _force,
    "--force-conflicts": _force_conflicts,
    "--grace-period": _grace,
    "--now": _now,
    "--cascade": _cascade,
    "--wait": _wait,
    "--ignore-not-found": _forgive,
    "--type": _type,
    **dict.fromkeys(_NEEDLESS, _needless),
}
