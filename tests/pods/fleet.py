"""All pods of one cluster and runtime, a few at a time: made, watched to their end, looked at, deleted."""

from __future__ import annotations

import contextlib
import io
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import urllib3

from tests.pods import layout
from tests.pods.case import SECRET, Case, Entry, Stage
from tests.pods.play import Play
from tests.pods.scenarios import INPUTS, PAGE
from tests.pods.seen import Seen
from tests.servers import taskresults
from tests.servers.apiserver import Refused
from tests.servers.dockerd import DockerNode
from tests.servers.process import free_ports
from tests.servers.rbac import documents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster
    from tests.servers.nginx import Nginx
    from tests.servers.seaweedfs import SeaweedFS

AT_ONCE = 8
"""Pods: more than two processors start at once, since most of a pod's time is the kubelet's waiting."""

WORKFLOW = "wf"
_ENDED = {"Succeeded", "Failed"}
_KINDS = ("Workflow", "WorkflowTaskResult")
"""The custom resources of Argo that executors see."""


@dataclass(frozen=True)
class Fleet:
    """Pods of one namespace of a cluster."""

    cluster: Cluster
    namespace: Namespace
    stage: Stage
    store: SeaweedFS
    workflow_uid: str

    @classmethod
    def of(cls, cluster: Cluster, flavour: str, image: str, store: SeaweedFS, web: Nginx) -> Fleet:
        """Make a namespace with all that pods expect in it, and fill the servers."""
        for kind in _KINDS:
            taskresults.install(cluster.api, kind)
        namespace = cluster.namespace()
        for runtime in layout.RUNTIMES:
            _grant(namespace, runtime)
        namespace.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}})
        secret = {"access": store.access_key, "secret": store.secret_key}
        namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": secret})
        workflow = namespace.apply(
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": WORKFLOW}, "spec": {}}
        )
        accounts = f"/api/v1/namespaces/{namespace.name}/serviceaccounts"
        for name in ("nobody", *map(account, layout.RUNTIMES)):
            cluster.api.wait(accounts, name, lambda one: one and one.get("secrets"))
        stage = Stage(
            flavour=flavour,
            s3={"endpoint": store.endpoint, "bucket": store.bucket},
            http=f"{web.http}/open",
            executor_image=image,
            docker_socket=str(cluster.node.dockerd.socket) if isinstance(cluster.node, DockerNode) else "",
            kubelet_port=cluster.kubelet_port,
            namespace=namespace.name,
            proxies={
                runtime: f"127.0.0.1:{port}"
                for runtime, port in zip(layout.RUNTIMES, free_ports(len(layout.RUNTIMES)), strict=True)
            },
        )
        (web.data / "page.txt").write_bytes(PAGE)
        client = store.client()
        for name, content in INPUTS.items():
            body = content if isinstance(content, bytes) else archive(content)
            client.put_object(Bucket=store.bucket, Key=f"inputs/{name}", Body=body)
        return cls(cluster, namespace, stage, store, workflow["metadata"]["uid"])

    def run(self, cases: Iterable[Case], at_once: int = AT_ONCE) -> dict[str, Seen]:
        """Run a pod for each; by the pod's name, what became of it."""
        with ThreadPoolExecutor(at_once) as pool:
            return {seen.case.pod: seen for seen in pool.map(self.one, cases)}

    def one(self, case: Case) -> Seen:
        """Run one pod to its end and look at it."""
        seen = Seen(case)
        began = time.monotonic()
        followed: list[threading.Thread] = []
        try:
            manifest = layout.pod(case.scenario.template(case), _owned(case.options(), self.workflow_uid))
            seen.pod = self.namespace.apply(manifest)
            if case.scenario.deleted:  # its logs go with it
                followed = [self._follow(seen, name) for name in ("wait", "main")]
            if case.scenario.during:
                case.scenario.during(Play(case, self.cluster, self.namespace))
            self._await_end(seen)
        except Exception as error:  # the test that looks at this pod fails, not the fleet
            seen.error = f"{type(error).__name__}: {error}"
        seen.seconds = time.monotonic() - began
        for thread in followed:
            thread.join(10)
        try:
            self._look(seen)
        except Exception as error:
            seen.error = seen.error or f"{type(error).__name__}: {error}"
        with contextlib.suppress(Refused):
            self.namespace.delete_pod(case.pod, 0)
        return seen

    def _await_end(self, seen: Seen) -> None:
        """Until all containers have ended, or it is gone, where that is what is wanted."""
        case = seen.case
        until = time.monotonic() + case.scenario.seconds
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(urllib3.exceptions.TimeoutError):
                for event in self.namespace.api.watch(
                    self.namespace.pods, left, fieldSelector=f"metadata.name={case.pod}"
                ):
                    if event["type"] == "ERROR":
                        break
                    seen.pod = event["object"]
                    if event["type"] == "DELETED" or (not case.scenario.deleted and _ended(seen)):
                        return
            if self._is_gone(case):  # between two watches
                return
        raise TimeoutError(f"{case.pod} has not ended after {case.scenario.seconds:g} s")

    def _is_gone(self, case: Case) -> bool:
        try:
            self.namespace.pod(case.pod)
        except Refused as error:
            return error.status == 404
        return False

    def _look(self, seen: Seen) -> None:
        case = seen.case
        if not case.scenario.deleted:
            every = (
                *seen.pod.get("spec", {}).get("initContainers", ()),
                *seen.pod.get("spec", {}).get("containers", ()),
            )
            for name in (one["name"] for one in every):
                with contextlib.suppress(Refused):
                    seen.logs[name] = self.namespace.logs(case.pod, name).decode(errors="replace")
        with contextlib.suppress(Refused):
            results = f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace.name}/workflowtaskresults"
            seen.task_result = self.namespace.api.get(f"{results}/{case.pod}")
        client = self.store.client()
        prefix = f"{case.key('')}/"
        listed = client.list_objects_v2(Bucket=self.store.bucket, Prefix=prefix).get("Contents", [])
        for one in listed:
            body = client.get_object(Bucket=self.store.bucket, Key=one["Key"])["Body"].read()
            seen.objects[one["Key"].removeprefix(prefix)] = body

    def _follow(self, seen: Seen, name: str) -> threading.Thread:
        def follow() -> None:
            play = Play(seen.case, self.cluster, self.namespace)
            with contextlib.suppress(Exception):
                play.await_started(name)
                seen.logs[name] = self.namespace.logs(seen.case.pod, name, follow="true").decode(errors="replace")

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        return thread


def _ended(seen: Seen) -> bool:
    return seen.pod["status"].get("phase") in _ENDED or (seen.case.scenario.stuck and bool(seen.ended("wait")))


def archive(content: list[Entry]) -> bytes:
    """A tar.gz of these entries."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, kind, mode, text in content:
            entry = tarfile.TarInfo(name)
            entry.mode = mode
            if kind == "directory":
                entry.type = tarfile.DIRTYPE
            elif kind == "link":
                entry.type, entry.linkname = tarfile.SYMTYPE, text
            else:
                entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()) if kind == "file" else None)
    return raw.getvalue()


def _owned(options: layout.Options, uid: str) -> layout.Options:
    given = options.service_account or account(options.wait.runtime)
    return replace(options, workflow=WORKFLOW, workflow_uid=uid, service_account=given)


def account(runtime: str) -> str:
    """The service account of a runtime's pods."""
    return f"argoexec-{runtime}"


def _grant(namespace: Namespace, runtime: str) -> None:
    """What a cluster's administrator applies for a runtime, with an account of its own: no verb is another's."""
    for file in (runtime, "taskresults"):
        for manifest in documents(file, namespace.name):
            own = manifest["kind"] == "ServiceAccount"
            manifest["metadata"]["name"] = account(runtime) if own else f"{manifest['metadata']['name']}-{runtime}"
            if "roleRef" in manifest:
                manifest["roleRef"]["name"] += f"-{runtime}"
                manifest["subjects"][0]["name"] = account(runtime)
            namespace.apply(manifest)
