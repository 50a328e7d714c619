"""Any object of a cluster, for `resource` templates: the official client, its discovery, and a watch of ours.

The dynamic client knows every kind that the server has, by what the server says of it: the plural of a custom kind is
not guessed (upstream's is, spec 7.4 #96). Its bodies are dicts: a field that this client does not know survives.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import BadRequest, InputError
from lifecycle.network import broken
from runtimes.api import MERGE_PATCH, ApiServer, Conflict
from runtimes.objectwatch import ObjectWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from lifecycle.clock import Cancel
    from lifecycle.objects import Change
    from lifecycle.ports import Surroundings

_TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and between two pieces of the answer; the client has none of its own."""
_CONTENT: Final = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": MERGE_PATCH,
    "json": "application/json-patch+json",
}
_VERBS: Final = {"apply": "patch", "replace": "update"}
"""RBAC's words for actions, where they are others."""


class ClusterObjects:
    """Those of the pod's cluster, as the pod's identity."""

    def __init__(self, api: ApiServer) -> None:
        """Nothing is sent yet."""
        self._api = api

    @classmethod
    def from_pod(cls, here: Surroundings) -> Self:
        """The pod's.

        Raises:
            InputError, BadRequest: there is no cluster that could be asked.
        """
        return cls(ApiServer.of(here))

    def perform(self, change: Change) -> dict[str, Any]:
        """Make the change.

        Raises:
            InputError: the server has no such kind, or not in this namespace.
            LifecycleError: as :meth:`ApiServer.call`.
        """
        resource = self._resource(change.api_version, change.kind)
        namespace = (change.namespace or self._api.namespace) if resource.namespaced else None
        options: dict[str, Any] = {"query_params": self._query(change)}
        if change.action in {"get", "delete"}:
            if change.action == "delete":
                options |= {"body": _deletion(change)}
            return self._asked(change.action, resource, change.name, namespace, **options)
        options["body"] = change.body
        if change.action == "patch":
            options["content_type"] = _CONTENT[change.strategy]
        elif change.action == "apply":
            options["force_conflicts"] = "true" if change.force else None
            return self._applied(change, resource, namespace, options)
        elif change.action == "replace":
            options["body"] = self._versioned(change, resource, namespace)
        return self._asked(change.action, resource, change.name, namespace, **options)

    def get(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """An object as it is now.

        Raises:
            LifecycleError: as ``perform``.
        """
        resource = self._resource(found["apiVersion"], found["kind"])
        return self._asked("get", resource, found["metadata"]["name"], found["metadata"].get("namespace"))

    def follow(self, found: Mapping[str, Any], settled: Callable[[Mapping[str, Any]], bool], cancel: Cancel) -> None:
        """Show ``settled`` the object and each change of it, by one watch.

        Raises:
            LifecycleError: as :meth:`ObjectWatch.wait_for`.
        """
        resource = self._resource(found["apiVersion"], found["kind"])
        path = resource.path(namespace=found["metadata"].get("namespace"))
        name = found["metadata"]["name"]
        watch: ObjectWatch[Mapping[str, Any]] = ObjectWatch(self._api, path, resource.name, name, lambda one: one)
        try:
            watch.wait_for(lambda state: settled(state) or None, cancel)
        finally:
            watch.close()

    # --- the client ---------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> Any:
        from kubernetes.client.api_client import ApiClient  # noqa: PLC0415 - 200 ms: after the manifest was judged
        from kubernetes.client.configuration import Configuration  # noqa: PLC0415
        from kubernetes.dynamic import DynamicClient  # noqa: PLC0415

        known = self._api.credentials
        configuration: Any = Configuration(host=self._api.base)
        configuration.ssl_ca_cert = known.ca
        configuration.cert_file, configuration.key_file = known.certificate, known.key
        configuration.verify_ssl = known.verify
        configuration.tls_server_name = known.server_name
        configuration.proxy = known.proxy
        configuration.retries = False  # the attempts that a person sees are the phase's
        client: Any = ApiClient(configuration)
        for name, value in (*self._api.headers().items(), *known.impersonate):
            if name not in {"Accept", "Authorization"}:
                client.set_default_header(name, value)
        configuration.refresh_api_key_hook = self._refresh
        self._refresh(configuration)
        return self._translated("get", "/apis", "", DynamicClient, client, "/dev/null/none", _kinds())

    def _refresh(self, configuration: Any) -> None:
        """Tokens of service accounts are rotated."""
        authorization = self._api.credentials.authorization()
        if authorization:
            configuration.api_key["BearerToken"] = authorization

    def _resource(self, api_version: str, kind: str) -> Any:
        """What the server says of a kind.

        Raises:
            InputError: it has none of that name.
        """
        from kubernetes.dynamic.exceptions import (  # noqa: PLC0415 - is loaded with the client
            ResourceNotFoundError,
            ResourceNotUniqueError,
        )

        resources = self._client.resources
        try:
            if api_version:
                return self._translated(
                    "get", f"/apis/{api_version}", "", resources.get, api_version=api_version, kind=kind
                )
            return self._named(kind)
        except ResourceNotFoundError:
            raise InputError(
                f"the server has no kind {kind!r}" + (f" in {api_version}" if api_version else ""),
                place="manifest", remedy="correct apiVersion and kind, or install the custom resource definition",
            ) from None  # fmt: skip
        except ResourceNotUniqueError:
            raise InputError(
                f"the server has several kinds {kind!r}", place="manifest", remedy="name the group: deployments.apps"
            ) from None

    def _named(self, name: str) -> Any:
        """By what kubectl takes for a type: plural, singular, kind or short name, with its group behind a dot."""
        from kubernetes.dynamic.exceptions import ResourceNotFoundError  # noqa: PLC0415 - is loaded with the client

        word, _, group = name.lower().partition(".")
        found = [
            one
            for entries in self._translated("get", "/apis", "", lambda: list(self._client.resources))
            for one in entries
            if word in _names(one) and group in {"", one.group or ""}
        ]
        preferred = [one for one in found if one.preferred] or found
        if not preferred:
            raise ResourceNotFoundError(name)
        return preferred[0]

    # --- requests -----------------------------------------------------------------------------------------------------

    def _query(self, change: Change) -> list[tuple[str, str]]:
        query = []
        if change.dry_run:
            query.append(("dryRun", "All"))
        if change.action in {"create", "apply", "replace", "patch"}:
            query.append(("fieldManager", change.manager))
            if change.validation:
                query.append(("fieldValidation", change.validation))
        return query

    def _applied(self, change: Change, resource: Any, namespace: str | None, options: dict[str, Any]) -> dict[str, Any]:
        """A conflict of an apply is one of owners: it would be there at the next attempt, too."""
        try:
            return self._asked("apply", resource, change.name, namespace, **options)
        except Conflict as error:
            raise BadRequest(
                error.message, remedy="another manager owns these fields: --force-conflicts takes them over"
            ) from error

    def _versioned(self, change: Change, resource: Any, namespace: str | None) -> dict[str, Any]:
        """A replacement with the version of what it replaces: some kinds insist on it."""
        body: dict[str, Any] = change.body
        if body["metadata"].get("resourceVersion"):
            return body
        present = self._asked("get", resource, change.name, namespace)
        return body | {"metadata": body["metadata"] | {"resourceVersion": present["metadata"]["resourceVersion"]}}

    def _asked(self, action: str, resource: Any, name: str, namespace: str | None, **options: Any) -> dict[str, Any]:
        method = getattr(self._client, "server_side_apply" if action == "apply" else action)
        if action != "create":
            options["name"] = name
        verb, path = (
            _VERBS.get(action, action),
            resource.path(name=None if action == "create" else name, namespace=namespace),
        )
        response = self._translated(
            verb, path, resource.name, method, resource,
            namespace=namespace, serialize=False, _request_timeout=_TIMEOUT, **options,
        )  # fmt: skip
        try:
            answer: dict[str, Any] = json.loads(response.data)
        except ValueError as error:
            raise BadRequest(f"{verb} {path}: the answer is no JSON") from error
        return answer

    def _translated(
        self, verb: str, path: str, resource: str, work: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        """Call the client; what it raises in our words."""
        import urllib3  # noqa: PLC0415 - is loaded already
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - is loaded with the client

        try:
            return work(*args, **options)
        except ApiException as error:
            body = error.body if isinstance(error.body, bytes) else str(error.body or "").encode()
            headers = dict(error.headers or {})
            raise self._api.refusal(verb, path, resource, int(error.status or 0), headers, body) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise broken(f"{verb} {path}: {self._api.called} at {self._api.place}", error) from error


def _kinds() -> Any:
    """A discoverer without its file: one of another cluster, or of another day, would know other kinds."""
    from kubernetes.dynamic import LazyDiscoverer  # noqa: PLC0415 - is loaded with the client

    class Kinds(LazyDiscoverer):
        def _write_cache(self) -> None:
            pass

    return Kinds


def _names(resource: Any) -> set[str]:
    """What a kind is called; its list, which the client keeps beside it, is none of kubectl's types."""
    if type(resource).__name__ == "ResourceList":
        return set()
    return {
        one.lower()
        for one in (resource.name, resource.singular_name, resource.kind, *(resource.short_names or ()))
        if one
    }


def _deletion(change: Change) -> dict[str, Any]:
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": change.propagation or "Background",
    }
    if change.grace is not None:
        body["gracePeriodSeconds"] = change.grace
    if change.dry_run:
        body["dryRun"] = ["All"]
    return body
