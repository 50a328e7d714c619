"""Drivers of others: a ``plugin`` location (spec 5.26) names an entry point of the group ``argoexec.drivers``.

The original runs a plugin in a container of its own and talks to it. Here it is a package beside this one, and its
driver is one like ours: docs/drivers.md. ``connectionTimeoutSeconds`` is without meaning, as there is no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError
from lifecycle.registry import DRIVERS, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.ports import Driver
    from lifecycle.secret import SecretReader


def plugin_driver(config: Mapping[str, Any], secrets: SecretReader) -> Driver:
    """The driver that ``name`` stands for, made from ``configuration``: an object, as JSON, as YAML, or as it is.

    Raises:
        InputError: nobody registered that name, it is one of ours, or the configuration is of another shape.
        LifecycleError: from the driver's factory.
    """
    name = config.get("name")
    if not isinstance(name, str) or not name:
        raise InputError("expected the name of a driver", place="plugin.name")
    if name in DRIVERS:
        raise InputError(
            f"{name!r} is a driver of this executor", place="plugin.name", remedy=f"use a `{name}` location"
        )
    driver: Driver = resolve("driver", name)(_configuration(config.get("configuration")), secrets)
    return driver


def _configuration(raw: Any) -> Mapping[str, Any]:
    parsed = raw
    if isinstance(raw, str):
        import yaml  # noqa: PLC0415 - only a plugin's configuration is text

        try:
            parsed = yaml.safe_load(raw)
        except yaml.YAMLError:  # from None: it quotes the line, and this is where a plugin's credentials are
            raise InputError("it is neither JSON nor YAML", place="plugin.configuration") from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise InputError("expected an object", place="plugin.configuration")
    return parsed
