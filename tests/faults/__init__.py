"""Faults of real stores, and what must come of them.

`stores.toml` is the table: a row says of a store and a fault how many attempts are made, how it ends, and what the
message and the remedy say. A scene, in `scenes/<store>.py`, sets the fault up; `test_stores.py` performs the real phase
(loading or saving) with the real driver on a virtual clock, and compares. Every row has a scene and every scene a row.

To add one: write a context manager `scene(stage)` that yields a :class:`tests.faults.stage.Scene`, decorate it with
`@fault("unknown bucket", "load")`, and give it a row.
"""
