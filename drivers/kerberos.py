"""The Kerberos fields of an ``hdfs`` location (spec 3.5) → what the process that logs in is started with.

Keytab, credential cache and krb5.conf are in memory files that only that process has: nothing is on a disk, nothing in
the executor's own environment, so two artifacts can be of two realms.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.secret import SecretReader

# What would make the process somebody else than the location says.
_DROPPED: Final = (
    "KRB5CCNAME", "KRB5_KTNAME", "KRB5_CLIENT_KTNAME", "KRB5_TRACE", "HADOOP_USER_NAME", "HADOOP_PROXY_USER",
    "HADOOP_TOKEN_FILE_LOCATION", "RUST_LOG", "PYTHONSTARTUP", "PYTHONINSPECT",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Login:
    """Who the location says the executor is.

    Attributes:
        who: for messages.
        user: of a cluster that believes what it is told.
        principal: with its realm; of a credential cache, the one that is in it.
    """

    who: str
    user: str = ""
    principal: str = ""
    keytab: bytes | None = field(default=None, repr=False)
    cache: bytes | None = field(default=None, repr=False)
    config: str | None = field(default=None, repr=False)

    @property
    def kerberos(self) -> bool:
        """Whether there is anything to prove it with."""
        return self.keytab is not None or self.cache is not None

    @contextmanager
    def environment(self) -> Iterator[tuple[dict[str, str], dict[str, str], tuple[int, ...]]]:
        """For the process: its environment, the arguments of its client, and descriptors that it inherits."""
        environ = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        arguments: dict[str, str] = {}
        held: list[int] = []

        def file(name: str, data: bytes) -> str:
            held.append(os.memfd_create(name))
            os.write(held[-1], data)
            return f"/proc/self/fd/{held[-1]}"

        try:
            if self.user:
                environ["HADOOP_USER_NAME"] = self.user
            if self.config is not None:
                environ["KRB5_CONFIG"] = file("krb5.conf", self.config.encode())
            if self.keytab is not None:
                path = file("keytab", self.keytab)
                arguments = {"kerberos_principal": self.principal, "kerberos_keytab": path}
                # What asks GSSAPI without arguments logs in likewise; the tickets are in memory.
                environ |= {"KRB5_CLIENT_KTNAME": f"FILE:{path}", "KRB5CCNAME": "MEMORY:argoexec"}
            elif self.cache is not None:
                environ["KRB5CCNAME"] = f"FILE:{file('ccache', self.cache)}"
            yield environ, arguments, tuple(held)
        finally:
            for one in held:
                os.close(one)


def login(config: Mapping[str, Any], secrets: SecretReader) -> Login:
    """Read the secrets and the config map.

    Raises:
        BadRequest: fields are missing, or contradict each other.
        Unauthorized: a secret is not there.
        LifecycleError: the config map cannot be read.
    """
    user = _text(config, "hdfsUser")
    keytab = secrets.read_bytes(config.get("krbKeytabSecret"))
    cache = secrets.read_bytes(config.get("krbCCacheSecret"))
    ways = {"hdfsUser": user or None, "krbKeytabSecret": keytab, "krbCCacheSecret": cache}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise BadRequest(
            f"an hdfs location says who the executor is in one way, not by {' and '.join(given) or 'nothing'}",
            remedy="give one of hdfsUser, krbKeytabSecret and krbCCacheSecret",
        )
    krb5 = secrets.config_map(config.get("krbConfigConfigMap"))
    if user:
        return Login(f"user {user!r}", user=user)
    if keytab is None:
        return Login(_selected(config, "krbCCacheSecret"), cache=cache, config=krb5)
    name, realm = _text(config, "krbUsername"), _text(config, "krbRealm")
    if not name or not realm:
        raise BadRequest(
            "an hdfs location with `krbKeytabSecret` needs `krbUsername` and `krbRealm`",
            remedy="they are the principal krbUsername@krbRealm, whose key the keytab has",
        )
    principal = f"{name}@{realm}"
    who = f"{principal} by {_selected(config, 'krbKeytabSecret')}"
    return Login(who, principal=principal, keytab=keytab, config=krb5)


def _selected(config: Mapping[str, Any], name: str) -> str:
    return f"{name} (key {config[name]['key']!r} of secret {config[name]['name']!r})"


def _text(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name) or ""
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` of an hdfs location is text")
    return value
