"""Faults of real stores, and what must come of them.

`scenes/<store>.toml` is the table: a row says of a fault how many attempts are made, how it ends, and what message and
remedy say. A scene, in `scenes/<store>.py`, sets the fault up; `test_stores.py` performs the real phase (loading or
saving) with the real driver on a virtual clock, and compares. Every row has a scene and every scene a row.

To add one: write a generator `scene(stage)` that yields a :class:`tests.faults.stage.Scene`, decorate it with
`@fault("unknown bucket", "load")`, and give it a row:

- `fault`, `verbs`: as the scene has them
- `error`: the class the item fails with; empty where it succeeds in the end
- `attempts`: how many were made
- `message`, `remedy`: patterns; where it succeeds, `message` is looked for in the attempts that failed
- `wait`: the least number of seconds before each further attempt, 1 unless given
"""
