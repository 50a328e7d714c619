"""An http location that is a WebHDFS URL, as the original documents it: a name node that redirects with 307."""

from __future__ import annotations

import io
import os
import uuid
from typing import TYPE_CHECKING

import pytest

from drivers.http import HttpDriver
from lifecycle.errors import NotFound

if TYPE_CHECKING:
    from tests.servers.fixtures import Secrets
    from tests.servers.hadoop import Hadoop

MIB = 1 << 20


@pytest.fixture
def url(hadoop: Hadoop) -> str:
    return f"{hadoop.url}/webhdfs/v1/open/{uuid.uuid4()}/file?user.name=alice&"


@pytest.mark.parametrize("size", [0, 1000, 64 * MIB])
def test_a_file_goes_there_and_back_and_is_deleted(url: str, secrets: Secrets, size: int):
    driver, data = HttpDriver({}, secrets), os.urandom(size)
    driver.save(f"{url}op=CREATE&overwrite=true", io.BytesIO(data), None)

    with driver.open(f"{url}op=OPEN") as stream:
        assert stream.read() == data
    driver.delete(f"{url}op=DELETE")
    with pytest.raises(NotFound):
        driver.open(f"{url}op=OPEN")


@pytest.mark.parametrize("size", [1000, 16 * MIB])
def test_a_source_that_fails_leaves_no_file(url: str, secrets: Secrets, size: int):
    class Failing(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            data = super().read(count)
            if not data:
                raise RuntimeError("the source broke")
            return data

    driver = HttpDriver({}, secrets)
    with pytest.raises(RuntimeError, match="the source broke"):
        driver.save(f"{url}op=CREATE&overwrite=true", Failing(bytes(size)), None)

    with pytest.raises(NotFound):
        driver.open(f"{url}op=OPEN")
