"""Raw artifacts."""

from __future__ import annotations

import io

import pytest

from drivers.raw import RawDriver
from lifecycle.errors import Unsupported
from lifecycle.ports import Driver


@pytest.fixture
def driver(secrets) -> RawDriver:
    return RawDriver({}, secrets)


def test_the_data_is_given_verbatim_as_utf_8(driver: RawDriver):
    assert driver.open(" grüße\n").read() == " grüße\n".encode()


def test_it_is_a_driver_with_nothing_below_its_data(driver: RawDriver):
    assert isinstance(driver, Driver)
    assert list(driver.list("data")) == []


def test_it_cannot_be_written(driver: RawDriver):
    with pytest.raises(Unsupported):
        driver.save("data", io.BytesIO(b"x"), None)
    with pytest.raises(Unsupported):
        driver.delete("data")
