"""What a test asks a Kubernetes API server to set up and to look; never what is tested itself."""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import urllib3
import websocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_EVERYWHERE = frozenset(
    {"Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
)
_GRANTED = 30.0
"""Seconds until a role is felt; it takes milliseconds."""
_PATCH = "application/merge-patch+json"


class Refused(Exception):
    """The server answers with an error."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body.decode(errors='replace')}")
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Api:
    """An API server, as the owner of a token."""

    url: str
    ca: Path
    token: str

    def call(self, verb: str, path: str, body: Any = None, content_type: str = "application/json", **query: Any) -> Any:
        """One request; returns the JSON of its answer.

        Raises:
            Refused: by its status.
        """
        return json.loads(self.raw(verb, path, body, content_type, **query))

    def raw(
        self, verb: str, path: str, body: Any = None, content_type: str = "application/json", **query: Any
    ) -> bytes:
        """As :meth:`call`, for an answer that is not JSON."""
        answer = self._pool.request(
            verb,
            f"{self.url}{path}?{urlencode(query)}",
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content_type},
        )
        if answer.status >= 400:
            raise Refused(answer.status, answer.data)
        return answer.data

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, **query)

    def patch(self, path: str, body: Any) -> Any:
        """A merge patch."""
        return self.call("PATCH", path, body, _PATCH)

    def delete(self, path: str, **query: Any) -> Any:
        return self.call("DELETE", path, **query)

    def apply(self, manifest: Mapping[str, Any], namespace: str = "default") -> Any:
        """Create the object, in its own namespace or this one."""
        return self.call("POST", collection(manifest, namespace), manifest)

    def watch(self, path: str, timeout: float, **query: Any) -> Iterator[dict[str, Any]]:
        """What happens to the objects, until ``timeout`` (seconds); first those that are there, as ADDED.

        With a ``resourceVersion``: only what happens after it.
        """
        query |= {"watch": "true", "timeoutSeconds": max(1, int(timeout))}
        answer = self._pool.request(
            "GET",
            f"{self.url}{path}?{urlencode(query)}",
            headers={"Authorization": f"Bearer {self.token}"},
            preload_content=False,
            timeout=timeout,
        )
        try:
            if answer.status >= 400:
                raise Refused(answer.status, answer.data)
            rest = b""
            for piece in answer.stream(1 << 16):
                *lines, rest = (rest + piece).split(b"\n")
                yield from map(json.loads, lines)
        finally:
            answer.close()

    def wait(self, path: str, name: str, test: Callable[[Any], object], timeout: float = 60) -> Any:
        """The object, as soon as ``test`` is true of it.

        Args:
            path: of its collection.
            name: its own.
            test: gets the object as JSON, or None while there is none.
            timeout: seconds.

        Raises:
            TimeoutError: with the object as it was last.
        """
        until = time.monotonic() + timeout
        last: Any = None
        while (left := until - time.monotonic()) > 0:
            found = self.get(path, fieldSelector=f"metadata.name={name}")
            last = next(iter(found["items"]), None)
            if test(last):
                return last
            version = found["metadata"]["resourceVersion"]
            try:
                for event in self.watch(path, left, fieldSelector=f"metadata.name={name}", resourceVersion=version):
                    if event["type"] == "ERROR":  # the version is too old: list again
                        break
                    last = None if event["type"] == "DELETED" else event["object"]
                    if test(last):
                        return last
            except urllib3.exceptions.TimeoutError:
                break
        raise TimeoutError(f"{path}/{name} after {timeout} s is still {json.dumps(last)}")

    def exec(self, path: str, container: str, argv: Sequence[str]) -> tuple[int, bytes]:
        """Exit code and output (both streams) of a command in a container of the pod at ``path``.

        Raises:
            websocket.WebSocketBadStatusException: it is refused.
        """
        query = [("container", container), ("stdout", "1"), ("stderr", "1"), *(("command", word) for word in argv)]
        one = websocket.create_connection(
            f"wss{self.url.removeprefix('https')}{path}/exec?{urlencode(query)}",
            header=[f"Authorization: Bearer {self.token}"],
            subprotocols=["v4.channel.k8s.io"],
            sslopt={"ca_certs": str(self.ca), "cert_reqs": ssl.CERT_REQUIRED},
            timeout=60,
        )
        output = b""
        try:
            while True:
                opcode, frame = one.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    raise ConnectionError(f"exec of {argv} ends without a status, after {output!r}")
                if frame[:1] == b"\x03":
                    return _exit_code(json.loads(frame[1:])), output
                output += frame[1:]
        finally:
            one.close()

    def close(self) -> None:
        self._pool.clear()

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(maxsize=16, retries=False, ca_certs=str(self.ca), timeout=60)


@dataclass(frozen=True)
class Namespace:
    """One for a test, with its service account ``default``."""

    api: Api
    name: str
    token: str
    """Of the service account."""
    defaults: Callable[[Mapping[str, Any]], dict[str, Any]] = field(repr=False)
    """What any pod needs here."""

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.name}/pods"

    def account(self) -> Api:
        """The server, as the service account."""
        return Api(self.api.url, self.api.ca, self.token)

    def grant(self, *rules: Mapping[str, Sequence[str]], nodes: bool = False) -> None:
        """Allow the service account something more; it may once this returns.

        Args:
            rules: as in a Role: apiGroups, resources, verbs.
            nodes: what is asked for is no part of a namespace, as nodes/proxy.
        """
        kind = "ClusterRole" if nodes else "Role"
        group = "rbac.authorization.k8s.io"
        meta = {"generateName": f"{self.name}-"}
        role = self.api.apply(
            {"apiVersion": f"{group}/v1", "kind": kind, "metadata": meta, "rules": list(rules)}, self.name
        )
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": self.name}
        reference = {"apiGroup": group, "kind": kind, "name": role["metadata"]["name"]}
        binding = {"apiVersion": f"{group}/v1", "kind": f"{kind}Binding", "metadata": meta}
        self.api.apply(binding | {"subjects": [subject], "roleRef": reference}, self.name)
        until = time.monotonic() + _GRANTED
        while not all(self._may(rule, "" if nodes else self.name) for rule in rules):
            if time.monotonic() > until:
                raise TimeoutError(f"{rules} is granted, and not to be felt after {_GRANTED} s")

    def _may(self, rule: Mapping[str, Sequence[str]], namespace: str) -> bool:
        """Whether the server's authorizer, which hears of roles by a watch of its own, has heard of this one."""
        resource, _, subresource = rule["resources"][-1].partition("/")
        asked = {
            "namespace": namespace,
            "group": rule["apiGroups"][-1],
            "resource": resource,
            "subresource": subresource,
            "verb": rule["verbs"][-1],
        }
        user = f"system:serviceaccount:{self.name}:default"
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": asked},
        }
        answer = self.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def apply(self, manifest: Mapping[str, Any]) -> Any:
        """Create an object; a pod gets the defaults that it needs here."""
        return self.api.apply(self.defaults(manifest) if manifest["kind"] == "Pod" else manifest, self.name)

    def pod(self, name: str) -> Any:
        return self.api.get(f"{self.pods}/{name}")

    def patch_pod(self, name: str, body: Mapping[str, Any]) -> Any:
        return self.api.patch(f"{self.pods}/{name}", body)

    def delete_pod(self, name: str, grace: int | None = None) -> Any:
        """Ask for its end, with so many seconds of grace (its own if None)."""
        return self.api.delete(f"{self.pods}/{name}", **({} if grace is None else {"gracePeriodSeconds": grace}))

    def wait_pod(self, name: str, test: Callable[[Any], object], timeout: float = 60) -> Any:
        """The pod as soon as ``test`` is true of it (None while there is none); see :meth:`Api.wait`."""
        return self.api.wait(self.pods, name, test, timeout)

    def wait_ended(self, name: str, timeout: float = 60) -> Any:
        """The pod as soon as all its containers have ended."""
        return self.wait_pod(name, lambda pod: pod and pod["status"].get("phase") in {"Succeeded", "Failed"}, timeout)

    def logs(self, name: str, container: str, **query: Any) -> bytes:
        return self.api.raw("GET", f"{self.pods}/{name}/log", container=container, **query)

    def exec(self, name: str, container: str, argv: Sequence[str]) -> tuple[int, bytes]:
        """Exit code and output of a command in a container of the pod."""
        return self.api.exec(f"{self.pods}/{name}", container, argv)

    def events(self) -> list[Any]:
        found: list[Any] = self.api.get(f"/api/v1/namespaces/{self.name}/events")["items"]
        return found


def collection(manifest: Mapping[str, Any], namespace: str) -> str:
    """The path of the objects of its kind."""
    version, kind = manifest["apiVersion"], manifest["kind"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if kind not in _EVERYWHERE:
        root += f"/namespaces/{manifest.get('metadata', {}).get('namespace', namespace)}"
    return f"{root}/{kind.lower()}s"


def container(pod: Mapping[str, Any] | None, name: str) -> Any:
    """The status of one container of a pod; {} where there is none."""
    status = (pod or {}).get("status", {})
    every = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return next((one for one in every if one["name"] == name), {})


def _exit_code(status: Any) -> int:
    if status["status"] == "Success":
        return 0
    causes = {one.get("reason"): one.get("message") for one in status.get("details", {}).get("causes", ())}
    if "ExitCode" not in causes:
        raise RuntimeError(f"exec: {status.get('message')}")
    return int(causes["ExitCode"])
