"""Who asks: the keys of mounted secrets, a role, or what the AWS tools find; read again when the store refuses them.

Upstream lost a directory's progress when a token ended in the middle (#15044). Here a refused request asks whether
there are other credentials by now, and is repeated with them once; if there are none, the refusal stands.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import botocore.credentials
from botocore.exceptions import NoCredentialsError

from lifecycle.errors import BadRequest, LifecycleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lifecycle.secret import SecretReader

_NAMES = ("accessKeySecret", "secretKeySecret", "sessionTokenSecret")


class Credentials(botocore.credentials.Credentials):  # type: ignore[misc] # botocore has no types
    """What botocore signs with. Behind it are credentials that are made anew when those in use are refused."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """``make`` gives botocore's credentials, or ``None`` where there are none."""
        self._make = make
        self._current = make()
        self._lock = threading.Lock()

    def get_frozen_credentials(self) -> Any:
        """Those to sign one request with; botocore renews a role's before they end.

        Raises:
            NoCredentialsError: there are none.
            ClientError, BotoCoreError: a role was not given.
        """
        if self._current is None:
            raise NoCredentialsError
        return self._current.get_frozen_credentials()

    def told(self) -> Iterator[str | None]:
        """What of them is in requests, as far as it is known by now: a role's are not asked for."""
        known = {} if self._current is None else vars(self._current)
        for name in ("access_key", "secret_key", "token"):
            yield known.get(name) or known.get(f"_{name}")

    def renewed(self, refused: Any) -> bool:
        """Whether there are others now than the ``refused`` ones; whoever comes first looks for them.

        Raises:
            ClientError, BotoCoreError: a role was not given.
        """
        with self._lock:
            if self.get_frozen_credentials() != refused:
                return True
            found = None
            with suppress(LifecycleError):  # a secret that is being replaced: what the store said is the news
                found = self._make()
            if found is None or found.get_frozen_credentials() == refused:
                return False
            self._current = found
            return True

    def __getattr__(self, name: str) -> Any:
        """``access_key`` and what else botocore looks at when it makes a client; a role is not asked for that."""
        if name in {"access_key", "secret_key", "token"}:
            return getattr(self.get_frozen_credentials(), name)
        if name in {"method", "account_id"}:
            return getattr(self._current, name, None) if name == "method" else None
        raise AttributeError(name)


def find(config: Mapping[str, Any], secrets: SecretReader, core: Any, region: str) -> tuple[Credentials, str]:
    """The credentials of a location, and whence they are, for messages.

    The order is upstream's: the keys of secrets, ``roleARN``, then the chain of the AWS tools, which ends at the pod's
    IAM role. ``useSDKCreds`` asks for that chain by name.

    Raises:
        BadRequest: only half of the keys is given.
        Unauthorized: a secret is named that is not there.
        BotoCoreError: what botocore's configuration raises.
    """
    named = [name for name in _NAMES if (config.get(name) or {}).get("name")]
    if "accessKeySecret" in named or "secretKeySecret" in named:
        _refuse_half(named)
        return Credentials(lambda: _mounted(config, secrets)), ", ".join(selector(name, config) for name in named)
    if "sessionTokenSecret" in named:
        raise BadRequest(
            "the s3 location has `sessionTokenSecret` but no keys", remedy="give accessKeySecret and secretKeySecret"
        )
    if role := str(config.get("roleARN") or ""):
        whence = f"the role {role} and the credentials of the pod that assumes it"
        return Credentials(lambda: _role(core, role, region)), whence
    # Timeout and attempts of the chain's last link, the metadata service, are 1 s and 1: a laptop does not hang.
    asked = "`useSDKCreds`" if config.get("useSDKCreds") is True else "the location names no key secrets"
    return Credentials(lambda: _chain(core)), f"the credentials of the AWS tools or the pod's IAM role ({asked})"


def selector(name: str, config: Mapping[str, Any]) -> str:
    """A secret selector's field, for messages: ``accessKeySecret (key 'access' of secret 's3')``."""
    return f"{name} (key {config[name]['key']!r} of secret {config[name]['name']!r})"


def _refuse_half(named: list[str]) -> None:
    for given, missing in (("secretKeySecret", "accessKeySecret"), ("accessKeySecret", "secretKeySecret")):
        if missing not in named:
            raise BadRequest(f"the s3 location has `{given}` but no `{missing}`", remedy="give both or neither")


def _mounted(config: Mapping[str, Any], secrets: SecretReader) -> Any:
    access, secret, token = (secrets.read(config.get(name)) for name in _NAMES)
    return botocore.credentials.Credentials(
        access.reveal() if access else "",
        secret.reveal() if secret else "",
        token.reveal() if token else None,
        method="argoexec-secret",
    )


def _chain(core: Any) -> Any:
    return core.get_component("credential_provider").load_credentials()


def _role(core: Any, role: str, region: str) -> Any:
    """The role's credentials; they are renewed ten minutes before they end."""
    core.set_config_variable("region", region)
    own = _chain(core)
    if own is None:
        raise NoCredentialsError
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        core.create_client, own, role, extra_args={"RoleSessionName": "argoexec"}
    )
    return botocore.credentials.DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
