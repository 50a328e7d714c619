"""Fixtures for everybody, and the one rule about skipping: by name on a laptop, never in `make test-real`."""

from __future__ import annotations

import os
from functools import cache

import pytest
from hypothesis import settings

from runtimes import kernel
from tests.servers.bridged import azurite, gcs, sftp
from tests.servers.clusters import cache_config, hadoop, kdc, kerberized, keytab_config, plain_config
from tests.servers.containers import cluster, dockerd, kubernetes_containerd, kubernetes_docker
from tests.servers.fixtures import (
    artifactory,
    certificate,
    chromium,
    client_certificate,
    git_root,
    gitdaemon,
    githttp,
    httpd,
    nginx,
    oauth2,
    secrets,
    sshd,
    weed,
)
from tests.servers.image import executor_archive, executor_image, executor_rootfs

# No example of a test has a time to keep: machines are busy.
settings.register_profile("argoexec", deadline=None)
settings.load_profile("argoexec")

# Nothing above imports it: an assertion of the suite then shows its values, as those of a test do.
pytest.register_assert_rewrite("drivers.conformance")

__all__ = [
    "artifactory",
    "azurite",
    "cache_config",
    "certificate",
    "chromium",
    "client_certificate",
    "cluster",
    "dockerd",
    "executor_archive",
    "executor_image",
    "executor_rootfs",
    "gcs",
    "git_root",
    "gitdaemon",
    "githttp",
    "hadoop",
    "httpd",
    "kdc",
    "kerberized",
    "keytab_config",
    "kubernetes_containerd",
    "kubernetes_docker",
    "nginx",
    "oauth2",
    "plain_config",
    "secrets",
    "sftp",
    "sshd",
    "weed",
]  # fixtures for everybody

REAL = os.environ.get("ARGOEXEC_TEST_REAL") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write tests/lifecycle/snapshots anew")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """In `make test-real` a skipped test is a failed one: everything it needs is there, or should be."""
    outcome = yield
    report = outcome.get_result()
    installable = item.get_closest_marker("argo_examples") is None
    if REAL and report.skipped and installable and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipping is a failure here: {report.longrepr}"


@cache
def _refusal() -> str | None:
    return kernel.sandbox_refusal()


@pytest.fixture(autouse=True)
def _what_the_machine_allows(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("sandbox") and (refusal := _refusal()):
        pytest.skip(refusal)
    if request.node.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
