"""Every table there is, by name: what ``argoexec diagram`` draws and ``explain`` knows."""

from __future__ import annotations

from lifecycle.data import DATA
from lifecycle.pod import INIT_TABLE, POD, WAIT_TABLE
from lifecycle.resource import RESOURCE

TABLES = {table.name: table for table in (POD, INIT_TABLE, WAIT_TABLE, RESOURCE, DATA)}
