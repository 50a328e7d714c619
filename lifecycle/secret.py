"""Secrets: read late, shown never.

Kubernetes mounts them at ``/argo/secret/<name>/<key>`` (spec 1.7.6). They are read when a driver is made, which is
again after every failed attempt, so that a rotated credential is picked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from lifecycle.errors import InputError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Secret:
    """A string that no log, format or dump can show; ``reveal()`` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the library that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class SecretReader:
    """Reads the keys of mounted secrets below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, selector: Mapping[str, Any] | None) -> Secret | None:
        """The value a Kubernetes secret selector names, surrounding white space trimmed; ``None`` for an unset one.

        Raises:
            InputError: the selector has a name and no key, or one that leaves the directory.
            Unauthorized: there is no such secret or key; both are named, the value never is.
        """
        name = (selector or {}).get("name") or ""
        key = (selector or {}).get("key") or ""
        if not name:
            return None
        if not key or "/" in name or "/" in key or ".." in {name, key}:
            raise InputError(f"the secret selector of {name!r} needs a key, and neither may hold a '/'")
        try:
            return Secret((self._root / name / key).read_text().strip())
        except FileNotFoundError as error:
            raise Unauthorized(
                f"the secret {name!r} has no key {key!r} here",
                remedy=f"the executor reads {self._root / name / key}; create the secret or correct the selector",
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise Unauthorized(f"the key {key!r} of the secret {name!r} cannot be read") from error
