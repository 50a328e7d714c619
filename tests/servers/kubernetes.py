"""A real Kubernetes of one node on loopback: etcd, API server, controllers and kubelet, over a container runtime.

Every port is a free one and every file is below one directory, so that two clusters do not meet. There is no
scheduler and no pod network: a pod names its node and shares the machine's loopback (:meth:`Cluster.pod_defaults`).
"""

from __future__ import annotations

import base64
import collections
import contextlib
import copy
import io
import json
import os
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import urllib3

from tests.servers import enclosure
from tests.servers.apiserver import Api, Namespace, Refused
from tests.servers.certificates import authority, issued, key_pair
from tests.servers.dockerd import BUSYBOX, busybox
from tests.servers.process import Daemon, await_ready, free_ports, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NODE = "127.0.0.1"
PAUSE = "pause:test"

_MASTERS = "system:masters"
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
_APIS = ",".join(
    ["api/all=false", "api/v1=true", "batch/v1=true"]
    + [
        f"{group}.k8s.io/v1=true"
        for group in (
            "apiextensions", "apiregistration", "authentication", "authorization", "coordination", "events", "node",
            "rbac.authorization", "scheduling", "storage",
        )
    ]
)  # fmt: skip
"""What pods and the kubelet need: with all of them the server needs twice as long to come up."""
_NOT_ADMITTED = (
    "MutatingAdmissionWebhook,ValidatingAdmissionWebhook,DefaultIngressClass,CertificateApproval,"
    "CertificateSigning,CertificateSubjectRestriction"
)
"""Admission by what is left out of the above."""
_CONTROLLERS = "serviceaccount,serviceaccount-token,namespace,garbagecollector,job"


class Node(Protocol):
    """A container runtime of a cluster."""

    name: str
    """As a container's ID begins: ``docker`` or ``containerd``."""

    @property
    def socket(self) -> Path:
        """Where it serves."""

    @property
    def kubelet(self) -> Sequence[str]:
        """Options that tell a kubelet how to reach it."""

    def load(self, name: str, rootfs: Path | bytes, env: Mapping[str, str], entrypoint: Sequence[str]) -> None:
        """Make an image of a tar."""


@dataclass(frozen=True)
class Cluster:
    """One that runs."""

    api: Api
    """As an administrator."""
    node: Node
    directory: Path
    members: Mapping[str, Daemon]
    """``etcd``, ``apiserver``, ``controllers``, ``kubelet``, and ``runtime``, which is dockerd or containerd."""
    kubelet_port: int
    read_only_port: int
    """Of the kubelet, without authentication."""

    @property
    def port(self) -> int:
        """Of the API server."""
        return int(self.api.url.rpartition(":")[2])

    def load(
        self, name: str, rootfs: Path | bytes, env: Mapping[str, str] | None = None, entrypoint: Sequence[str] = ()
    ) -> None:
        """Give the node an image made of a tar."""
        self.node.load(name, rootfs, env or {}, entrypoint)

    def apply(self, manifest: Mapping[str, Any]) -> Any:
        """Create an object in the namespace it names; a pod gets its defaults."""
        return self.api.apply(self.pod_defaults(manifest) if manifest["kind"] == "Pod" else manifest)

    def namespace(self, *rules: Mapping[str, Sequence[str]]) -> Namespace:
        """A fresh one, whose service account ``default`` may do what the rules of a Role say."""
        name = f"test-{uuid.uuid4().hex[:10]}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
        account = self.api.wait(accounts, "default", lambda one: one and one.get("secrets"))
        secret = self.api.get(f"/api/v1/namespaces/{name}/secrets/{account['secrets'][0]['name']}")
        token = base64.b64decode(secret["data"]["token"]).decode()
        made = Namespace(self.api, name, token, self.pod_defaults)
        if rules:
            made.grant(*rules)
        return made

    def pod_defaults(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The manifest of a pod, with what any pod needs here; what it says itself stays.

        There is no scheduler, no pod network, no registry, and no service address: what a pod knows of the API server
        it knows from its environment.
        """
        pod = copy.deepcopy(dict(manifest))
        spec = pod["spec"]
        spec.setdefault("hostNetwork", True)
        spec.setdefault("nodeName", NODE)
        service = {"KUBERNETES_SERVICE_HOST": NODE, "KUBERNETES_SERVICE_PORT": str(self.port)}
        for one in (*spec.get("initContainers", ()), *spec["containers"]):
            one.setdefault("imagePullPolicy", "Never")
            known = {variable["name"] for variable in one.setdefault("env", [])}
            one["env"] += [{"name": name, "value": value} for name, value in service.items() if name not in known]
        return pod

    def api_down(self) -> contextlib.AbstractContextManager[None]:
        """The API server is not there for a while."""
        return self.members["apiserver"].down()

    def requests(self, user: str = "", agent: str = "") -> collections.Counter[str]:
        """How many requests of each kind the API server has answered, as ``patch pods``, a watch being one.

        Args:
            user: only those of this user, as ``system:serviceaccount:argo:default``.
            agent: only those whose User-Agent starts so.
        """
        found: dict[str, str] = {}
        for line in (self.directory / "audit.log").read_text().splitlines():
            event = json.loads(line)
            if user not in {"", event["user"].get("username")} or not event.get("userAgent", "").startswith(agent):
                continue
            what = event.get("objectRef", {})
            resource = "/".join(filter(None, (what.get("resource"), what.get("subresource"))))
            found[event["auditID"]] = f"{event['verb']} {resource or event['requestURI']}"
        return collections.Counter(found.values())


@contextlib.contextmanager
def started(directory: Path, runtime: Callable[[Path, enclosure.Enclosure], tuple[Node, Daemon]]) -> Iterator[Cluster]:
    """Start one with the images :data:`BUSYBOX` and :data:`PAUSE`; nothing of it is left afterwards.

    Args:
        directory: is made; a Unix socket's path has 107 characters at most, so keep it short.
        runtime: makes the container runtime below a directory, not yet started.
    """
    programs = binaries()
    etcd = needs("etcd", "etcd", "openssl")
    directory.mkdir(parents=True, exist_ok=True)
    certificates = directory / "pki"
    certificates.mkdir()
    ports = dict(
        zip(("etcd", "peer", "api", "controllers", "kubelet", "read-only", "healthz"), free_ports(7), strict=True)
    )
    ca, _ = authority(certificates)
    token = uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(enclosure.opened(directory, programs / "pause"))
        node, daemon = runtime(directory / "node", inside)
        api = Api(f"https://127.0.0.1:{ports['api']}", ca, token)
        stack.callback(api.close)
        argv = _commands(directory, programs, etcd, ports, api, inside, node)
        members = {
            name: Daemon([*inside.enter, *command], directory / f"{name}.log", port)
            for (name, command), port in zip(
                argv.items(), (ports["etcd"], ports["api"], ports["controllers"], ports["kubelet"]), strict=True
            )
        }
        members["apiserver"].ready = lambda process: await_ready(
            "the API server",
            [process],
            [members["apiserver"].log],
            lambda: _ready(api),
            (Refused, urllib3.exceptions.HTTPError),
        )
        members["runtime"] = daemon
        for member in members.values():
            stack.callback(member.stop)

        def control() -> None:
            members["etcd"].start()
            members["apiserver"].start()
            members["controllers"].start()

        def images() -> None:
            daemon.start()
            node.load(PAUSE, _pause(programs / "pause"), {}, ["/pause"])
            node.load(BUSYBOX, busybox(), {"PATH": "/bin"}, [])
            members["kubelet"].start()

        with ThreadPoolExecutor(2) as both:
            for one in [both.submit(control), both.submit(images)]:
                one.result()
        cluster = Cluster(api, node, directory, members, ports["kubelet"], ports["read-only"])
        api.wait("/api/v1/nodes", NODE, _node_ready)
        yield cluster


def binaries() -> Path:
    """Where kube-apiserver, kube-controller-manager, kubelet and pause are."""
    return Path(needs("Kubernetes", f"{os.environ.get('ARGOEXEC_KUBERNETES', '')}/bin/kubelet")).parent


def _commands(
    directory: Path,
    programs: Path,
    etcd: str,
    ports: Mapping[str, int],
    api: Api,
    inside: enclosure.Enclosure,
    node: Node,
) -> dict[str, list[str | Path]]:
    """How to start each member, in this order."""
    pki = directory / "pki"
    serving, serving_key = issued(pki, "apiserver", "/CN=kube-apiserver")
    client, client_key = issued(pki, "kubelet-client", f"/O={_MASTERS}/CN=kube-apiserver-kubelet-client")
    kubelet, kubelet_key = issued(pki, "kubelet", f"/O=system:nodes/CN=system:node:{NODE}")
    accounts = key_pair(pki, "accounts")
    users = {f"system:node:{NODE}": uuid.uuid4().hex, "system:kube-controller-manager": uuid.uuid4().hex}
    tokens = {"admin": api.token, **users}
    (directory / "tokens").write_text("".join(f"{token},{user},{user},{_MASTERS}\n" for user, token in tokens.items()))
    (directory / "audit.json").write_text(json.dumps(_AUDIT))
    configs = [
        _kubeconfig(directory, name, api, token)
        for name, token in zip(("kubelet", "controllers"), users.values(), strict=True)
    ]
    peer, clients = f"http://127.0.0.1:{ports['peer']}", f"http://127.0.0.1:{ports['etcd']}"
    return {
        "etcd": [
            etcd, f"--data-dir={directory}/etcd", f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}", "--unsafe-no-fsync",
        ],
        "apiserver": [
            programs / "kube-apiserver", f"--etcd-servers={clients}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={ports['api']}", f"--cert-dir={pki}",
            f"--tls-cert-file={serving}", f"--tls-private-key-file={serving_key}", f"--client-ca-file={api.ca}",
            f"--kubelet-client-certificate={client}", f"--kubelet-client-key={client_key}",
            f"--kubelet-certificate-authority={api.ca}", "--kubelet-preferred-address-types=Hostname,InternalIP",
            "--service-cluster-ip-range=10.96.0.0/24", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={accounts}", f"--service-account-key-file={accounts}",
            "--authorization-mode=Node,RBAC", f"--token-auth-file={directory}/tokens",
            "--endpoint-reconciler-type=none", "--allow-privileged=true", f"--audit-policy-file={directory}/audit.json",
            f"--audit-log-path={directory}/audit.log", f"--runtime-config={_APIS}",
            f"--disable-admission-plugins={_NOT_ADMITTED}", "--enable-priority-and-fairness=false",
        ],
        "controllers": [
            programs / "kube-controller-manager", f"--kubeconfig={configs[1]}", "--bind-address=127.0.0.1",
            f"--secure-port={ports['controllers']}", "--port=0", f"--cert-dir={pki}", "--leader-elect=false",
            f"--controllers={_CONTROLLERS}", f"--service-account-private-key-file={accounts}",
            f"--root-ca-file={api.ca}",
        ],
        "kubelet": [
            programs / "kubelet", f"--kubeconfig={configs[0]}", f"--hostname-override={NODE}", f"--address={NODE}",
            f"--port={ports['kubelet']}", f"--read-only-port={ports['read-only']}",
            f"--healthz-port={ports['healthz']}", f"--root-dir={directory}/kubelet", f"--cert-dir={pki}",
            f"--tls-cert-file={kubelet}", f"--tls-private-key-file={kubelet_key}", f"--client-ca-file={api.ca}",
            "--anonymous-auth=false", "--authentication-token-webhook", "--authorization-mode=Webhook",
            # A role that a test grants or takes away is felt at once, not after 5 min and 30 s.
            "--authorization-webhook-cache-authorized-ttl=1s", "--authorization-webhook-cache-unauthorized-ttl=1s",
            f"--pod-infra-container-image={PAUSE}", "--cgroup-driver=cgroupfs", f"--cgroup-root={inside.cgroup}",
            "--enforce-node-allocatable=", "--fail-swap-on=false", "--eviction-hard=",
            "--image-gc-high-threshold=100", "--image-gc-low-threshold=99", "--sync-frequency=1s",
            "--serialize-image-pulls=false", "--oom-score-adj=0", "--resolv-conf=",
            # A container that is restarted and ends leaves two; each minute all but this many are removed, and with
            # the first of them its lastState.
            "--maximum-dead-containers-per-container=2",
            # Not 10 s, which is what a pod would wait for a node that has just come up; not 5 requests in a second.
            "--node-status-update-frequency=1s", "--kube-api-qps=200", "--kube-api-burst=400", "--event-qps=0",
            "--make-iptables-util-chains=false",  # else it writes KUBE-* chains into the machine's firewall
            "--feature-gates=DevicePlugins=false",  # their socket is below /var/lib/kubelet, wherever --root-dir is
            f"--volume-plugin-dir={directory}/volume-plugins", *node.kubelet,
        ],
    }  # fmt: skip


def _kubeconfig(directory: Path, name: str, api: Api, token: str) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": api.url, "certificate-authority": str(api.ca)}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    file = directory / f"{name}.kubeconfig"
    file.write_text(json.dumps(content))
    return file


def _pause(program: Path) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.add(program, "pause")
    return raw.getvalue()


def _ready(api: Api) -> None:
    api.raw("GET", "/readyz")


def _node_ready(node: Any) -> bool:
    conditions = (node or {}).get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
