"""Secrets: read late, shown never.

Kubernetes mounts them at ``/argo/secret/<name>/<key>`` (spec 1.7.6). They are read when a driver is made, which is
again after every failed attempt, so that a rotated credential is picked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from lifecycle.errors import BadRequest, InputError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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


class ConfigMaps(Protocol):
    """The config maps of the pod's namespace."""

    def read(self, name: str, key: str) -> str:
        """The value of one key.

        Raises:
            BadRequest: there is no such config map or key.
            Forbidden: the pod's service account may not read it.
            Transient: the API server does not answer.
        """


class SecretReader:
    """Reads the keys of mounted secrets below one directory, and those of config maps, which nobody mounts."""

    def __init__(self, root: Path, config_maps: Callable[[], ConfigMaps] | None = None) -> None:
        """``config_maps`` is called when the first one is asked for; without it there are only those below ``root``."""
        self._root = root
        self._config_maps = config_maps
        self._known: dict[tuple[str, str], str] = {}

    def read(self, selector: Mapping[str, Any] | None) -> Secret | None:
        """The value a Kubernetes secret selector names, surrounding white space trimmed; ``None`` for an unset one.

        Raises:
            InputError: the selector has a name and no key, or one that leaves the directory.
            Unauthorized: there is no such secret or key; both are named, the value never is.
        """
        data = self.read_bytes(selector)
        try:
            return None if data is None else Secret(data.decode().strip())
        except UnicodeDecodeError:
            # from None: the error holds the value.
            name, key = _names(selector, "secret")
            raise Unauthorized(f"the key {key!r} of the secret {name!r} is not text") from None

    def read_bytes(self, selector: Mapping[str, Any] | None) -> bytes | None:
        """The value as it is, for what is not text, such as a keytab. The caller shows it to nobody.

        Raises:
            InputError, Unauthorized: as ``read``.
        """
        name, key = _names(selector, "secret")
        if not name:
            return None
        try:
            return (self._root / name / key).read_bytes()
        except FileNotFoundError as error:
            raise Unauthorized(
                f"the secret {name!r} has no key {key!r} here",
                remedy=f"the executor reads {self._root / name / key}; create the secret or correct the selector",
            ) from error
        except OSError as error:
            raise Unauthorized(f"the key {key!r} of the secret {name!r} cannot be read") from error

    def config_map(self, selector: Mapping[str, Any] | None) -> str | None:
        """The value that a selector of a config map names, read once; ``None`` for an unset one.

        A directory of secrets on a laptop serves config maps, too; in a pod they are asked of the API server, because
        the controller mounts none.

        Raises:
            InputError: as ``read``.
            BadRequest: there is no such config map or key.
            LifecycleError: what else the API server answered.
        """
        name, key = _names(selector, "config map")
        if not name:
            return None
        if (name, key) not in self._known:
            self._known[name, key] = self._config_map(name, key)
        return self._known[name, key]

    def _config_map(self, name: str, key: str) -> str:
        try:
            return (self._root / name / key).read_text()
        except FileNotFoundError as error:
            if self._config_maps is None:
                raise BadRequest(
                    f"the config map {name!r} has no key {key!r} here",
                    remedy=f"put it into {self._root / name / key}",
                ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequest(f"the key {key!r} of the config map {name!r} cannot be read as text") from error
        return self._config_maps().read(name, key)


def _names(selector: Mapping[str, Any] | None, what: str) -> tuple[str, str]:
    name = (selector or {}).get("name") or ""
    key = (selector or {}).get("key") or ""
    if name and (not key or "/" in name or "/" in key or ".." in {name, key}):
        raise InputError(f"the {what} selector of {name!r} needs a key, and neither may hold a '/'")
    return name, key
