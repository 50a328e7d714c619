"""The Engine API of one docker daemon: what is asked of it, and what its refusals mean.

The docker SDK finds the daemon (``DOCKER_HOST``, TLS) and sends; it is imported with the first question, because it
takes 104 ms and 29 MiB. Streams are read here, not by it: one frame of a log is one object there (ADR 22).
"""

from __future__ import annotations

import contextlib
import grp
import json
import logging
import os
import pwd
import threading
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import BadRequest, Forbidden, LifecycleError, NotFound, TimedOut, Unavailable, Unsupported
from lifecycle.location import without_userinfo
from lifecycle.network import broken, causes, shown
from runtimes.dockerstream import Body, failures, followed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.clock import Cancel

SOCKET: Final = "/var/run/docker.sock"
_ANSWER: Final = 60.0
"""Seconds between two pieces of an answer; waits have none."""
_OLDEST: Final = "1.24"
"""The oldest API that the SDK speaks: docker 1.12, of 2016."""
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Conflict(BadRequest):
    """The container is in another state than that takes (409)."""


class Daemon:
    """One docker daemon; serves several threads."""

    def __init__(self, environ: Mapping[str, str], remedy: str = "") -> None:
        """Nothing is sent yet.

        Args:
            environ: may have ``DOCKER_HOST``, ``DOCKER_TLS_VERIFY``, ``DOCKER_CERT_PATH``.
            remedy: what to do about a socket that is not there, deaf or forbidden; for a pod unless given.
        """
        self._environ = environ
        self._remedy = remedy
        self.host = environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
        self.place = without_userinfo(self.host) if "@" in self.host else self.host
        self._lock = threading.Lock()
        self._made: Any = None

    @property
    def socket(self) -> Path | None:
        """The path of its Unix socket; ``None`` for one that is elsewhere."""
        return Path(self.host.removeprefix("unix://")) if self.host.startswith("unix://") else None

    # --- one question, one answer ---------------------------------------------------------------------------------

    def call(self, method: str, path: str, query: Mapping[str, Any] = _NOTHING, *, body: Any = None) -> Any:
        """Ask, and give the answer's JSON, or ``None`` where there is none.

        Args:
            method: of HTTP.
            path: behind the version, such as ``/containers/json``.
            query: texts and numbers.
            body: is sent as JSON.

        Raises:
            NotFound, Conflict, BadRequest, Forbidden, Unsupported: another attempt would end the same way.
            Unavailable, TimedOut: it may work.
        """
        response = self.open(method, path, query, body=body, stream=False)
        try:
            return response.json() if response.content.strip() else None
        except ValueError as error:
            raise Unavailable(f"{method} {path}: the answer is no JSON; is that a docker daemon?") from error

    def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] = _NOTHING,
        *,
        body: Any = None,
        stream: bool = True,
        silence: float | None = _ANSWER,
        headers: Mapping[str, str] = _NOTHING,
    ) -> Any:
        """Ask, and give the answer of ``requests``, whose body is still to be read.

        Raises:
            LifecycleError: as :meth:`call`.
        """
        where = f"{method} {path}"
        client = self._client()
        sent: dict[str, Any] = {"Accept-Encoding": "identity", **headers}
        options: dict[str, Any] = {"params": dict(query)}
        if body is not None:
            options["data"] = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            response = client.request(
                method, client._url("{0}", path), stream=stream, headers=sent,  # noqa: SLF001 - the SDK's way to extend
                timeout=(_ANSWER, silence), **options,
            )  # fmt: skip
            if response.status_code >= 400:
                said = _message(response)
        except failures() as error:
            raise self._broken(where, error) from shown(error)
        if response.status_code >= 400:
            raise self._refusal(response.status_code, where, said)
        return response

    def containers(self, labels: Mapping[str, str], *, ended: bool = True) -> list[dict[str, Any]]:
        """Those with all of the labels, the newest first."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        found: list[dict[str, Any]] = self.call("GET", "/containers/json", {"all": int(ended), "filters": filters})
        return sorted(found, key=lambda one: int(one.get("Created", 0)), reverse=True)

    def inspect(self, container: str) -> dict[str, Any]:
        """A container as the daemon knows it.

        Raises:
            NotFound: it has been removed.
        """
        found: dict[str, Any] = self.call("GET", f"/containers/{container}/json")
        return found

    def kill(self, container: str, number: int) -> None:
        """Send a signal; a container that does not run, or is not there any more, is success."""
        try:
            self.call("POST", f"/containers/{container}/kill", {"signal": int(number)})
        except (NotFound, Conflict):
            return
        except Unavailable:
            # Daemons before 17.06 answer 500 for one that does not run.
            with contextlib.suppress(NotFound):
                if self.inspect(container)["State"]["Running"]:
                    raise

    # --- streams --------------------------------------------------------------------------------------------------

    def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] = _NOTHING,
        *,
        silence: float | None = _ANSWER,
        headers: Mapping[str, str] = _NOTHING,
    ) -> Body:
        """An answer to be read piece by piece.

        Raises:
            LifecycleError: as :meth:`call`.
        """
        # On a connection of its own: shutting down one that is back in the pool would end another's.
        alone = {"Connection": "close", **headers}
        answer = self.open(method, path, query, silence=silence, headers=alone)
        return Body(answer, f"{method} {path}", self._broken)

    def subscribe(self, filters: Mapping[str, Any], since: float) -> Body:
        """Events from ``since`` on, a line of JSON each; it stays silent until there is one."""
        query = {"since": f"{since:.9f}", "filters": json.dumps(filters)}
        return self.stream("GET", "/events", query, silence=None)

    def wait(self, container: str, cancel: Cancel, timeout: float | None) -> int | None:
        """Block until the container does not run; its exit code, or ``None`` after ``timeout`` seconds.

        Raises:
            NotFound: it has been removed, and with it its exit code.
            Cancelled: the token was set.
            Unavailable: the connection broke.
        """
        where = f"/containers/{container}/wait"
        # The head of the answer comes at once (since API 1.30), its body with the end.
        found = followed(
            "docker-wait",
            lambda: self.stream("POST", where, silence=None),
            lambda body: body.readall(),
            cancel,
            timeout,
        )
        return None if found is None else _code(found, f"POST {where}")

    def pull(self, image: str) -> Body:
        """Progress of pulling an image, with the person's own credentials; a line of JSON each.

        Raises:
            NotFound, BadRequest, Forbidden: there is none, or not for this person, or the login cannot be read.
            Unavailable: the registry cannot be reached.
        """
        from docker.utils import parse_repository_tag  # noqa: PLC0415 - see above

        from runtimes import dockerlogin  # noqa: PLC0415

        repository, tag = parse_repository_tag(image)
        headers = dockerlogin.header(self._client(), repository)
        query = {"fromImage": repository, "tag": tag or "latest"}
        return self.stream("POST", "/images/create", query, silence=None, headers=headers)

    # --- the client -----------------------------------------------------------------------------------------------

    def _client(self) -> Any:
        import docker  # noqa: PLC0415 - see above
        from docker.utils import kwargs_from_env  # noqa: PLC0415

        with self._lock:
            if self._made is None:
                self._parse()
                # It asks the daemon for its version, 12 ms: an old one knows no new paths, and since 29 a new one
                # refuses old ones, so that no number would do for all.
                wrong: tuple[type[Exception], ...] = (*failures(), TypeError, ValueError, KeyError, AttributeError)
                try:
                    options = kwargs_from_env(environment=dict(self._environ) or {"": ""})
                    client = docker.APIClient(**({"base_url": self.host} | options), version="auto", timeout=_ANSWER)
                    # The SDK's own calls have them; ours are plain requests of its session.
                    client.headers.update(client._general_configs.get("HttpHeaders") or {})  # noqa: SLF001
                except wrong as error:
                    if _of_configuration(error):
                        raise BadRequest(
                            "docker's configuration cannot be read",
                            remedy="correct config.json in ~/.docker, or in the directory that DOCKER_CONFIG names",
                        ) from None  # its text quotes it
                    raise self._broken("GET /version", error) from _harmless(error)
                for noisy in ("docker", "urllib3"):
                    logging.getLogger(noisy).setLevel(logging.WARNING)
                self._made = client
            return self._made

    def _parse(self) -> None:
        """See that ``DOCKER_HOST`` names a daemon.

        Raises:
            BadRequest: it does not.
        """
        from docker import errors, utils  # noqa: PLC0415 - see above

        try:
            utils.parse_host(self.host)
        except (errors.DockerException, ValueError) as error:
            why = "there is a login in it" if "@" in self.host else str(error)
            raise BadRequest(
                f"DOCKER_HOST={self.place} names no docker daemon: {why}",
                remedy="name it as unix:///PATH or tcp://HOST:PORT",
            ) from None

    def _broken(self, where: str, error: Exception) -> LifecycleError:
        """What an error of the client means: mostly, that there is no way to the daemon."""
        for cause in causes(error):
            meaning = self._of_client(cause, where) or self._of_socket(cause, where)
            if meaning is not None:
                return meaning
        return broken(f"{where}: the docker daemon at {self.place}", error)

    def _of_client(self, cause: BaseException, where: str) -> LifecycleError | None:
        from docker import errors  # noqa: PLC0415 - it raised the error

        if isinstance(cause, errors.APIError) and cause.response is not None:
            return self._refusal(cause.response.status_code, where, _message(cause.response))
        if isinstance(cause, errors.InvalidVersion):
            return Unsupported(
                f"the docker daemon at {self.place} is too old: {cause}",
                remedy=f"it must speak API {_OLDEST} (docker 1.12), or choose another executor",
            )
        if isinstance(cause, errors.TLSParameterError):
            return BadRequest(
                f"the certificates for the docker daemon at {self.place} cannot be read",
                remedy="DOCKER_CERT_PATH names a directory with ca.pem, cert.pem and key.pem",
            )
        if isinstance(cause, errors.DockerException) and not cause.__cause__ and not cause.__context__:
            return BadRequest(f"the docker daemon at {self.place} cannot be asked: {cause}")
        return None

    def _of_socket(self, cause: BaseException, where: str) -> LifecycleError | None:
        if isinstance(cause, (FileNotFoundError, NotADirectoryError)) and self.socket:
            return BadRequest(
                f"there is no docker daemon: no socket {self.socket}",
                remedy=self._remedy
                or f"mount the node's {SOCKET} into this container (a hostPath volume of type Socket), or name the "
                "daemon in DOCKER_HOST; on a node without docker choose another ARGO_CONTAINER_RUNTIME_EXECUTOR",
            )
        if isinstance(cause, PermissionError):
            return self._forbidden()
        if isinstance(cause, ConnectionRefusedError):
            return Unavailable(
                f"{where}: no docker daemon listens at {self.place}",
                remedy=self._remedy
                or "see whether it runs; one that was started again has a new socket, which a pod that mounts "
                "the old one never sees",
            )
        return None

    def _forbidden(self) -> LifecycleError:
        who = f"the user {_user(os.geteuid())} with the groups {', '.join(map(_group, _groups()))}"
        owner = ""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                status = self.socket.stat()
                owner = f"; it belongs to {_user(status.st_uid)} and the group {_group(status.st_gid)}"
                owner += f" ({status.st_mode & 0o777:o})"
        return Forbidden(
            f"{who} may not use the docker daemon's socket {self.socket or self.place}{owner}",
            remedy=self._remedy
            or "run the executor as root, or add the socket's group to supplementalGroups of the pod",
        )

    def _refusal(self, status: int, where: str, said: str) -> LifecycleError:
        message = f"{where}: the docker daemon answers {status}" + (f": {said}" if said else "")
        if status == 501:
            return Unsupported(message, remedy="see what the daemon is configured for")
        if status in {408, 504}:
            return TimedOut(message)
        if status >= 500 or status == 429:
            return Unavailable(message)
        kind = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict}.get(status, BadRequest)
        return kind(message, remedy="a plug-in of the daemon refuses it" if kind is Forbidden else "")


def now() -> float:
    """The daemon's time: it is on this machine, or its events begin some seconds too early."""
    return time.time() - 1.0


def _code(text: bytes, where: str) -> int:
    """The exit code in the answer to a wait."""
    try:
        answer = json.loads(text)
        code = int(answer["StatusCode"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{where}: the daemon has ended before it told the exit code") from error
    # With a code there may be an error too: why a container that was made could not be started.
    if code < 0:
        problem = (answer.get("Error") or {}).get("Message") or "the daemon does not know how it ended"
        raise Unavailable(f"{where}: {problem}")
    return code


def _message(response: Any) -> str:
    from runtimes.dockerlogin import quoted  # noqa: PLC0415 - of use only here

    try:
        text = str(json.loads(response.content)["message"])
    except (ValueError, KeyError, TypeError):
        text = response.content.decode(errors="replace")
    return " ".join(quoted(response, text).split())[:600]


def _of_configuration(error: Exception) -> bool:
    """Whether a client could not be made because config.json has another form: the SDK reads it as it comes."""
    import requests  # noqa: PLC0415 - it, or the SDK, raised the error
    from docker import errors  # noqa: PLC0415

    if not isinstance(error, failures()):
        return True
    forms = (errors.InvalidConfigFile, requests.exceptions.InvalidHeader, AttributeError, TypeError)
    return any(isinstance(cause, forms) for cause in causes(error))


def _harmless(error: Exception) -> Exception | None:
    """For ``raise … from``: an answer's own words are in the SDK's error, and who wrote them is not known."""
    return None if any(getattr(one, "response", None) is not None for one in causes(error)) else shown(error)


def _groups() -> list[int]:
    return sorted({os.getegid(), *os.getgroups()})


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return f"{grp.getgrgid(gid).gr_name} ({gid})"
    except KeyError:
        return str(gid)
